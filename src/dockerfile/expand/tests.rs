use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "v" => "plain",
        "path" => "/a/b.tar.gz",
        "empty" => "",
        "two" => "x  y",
        "한" => "国",
        _ => return None,
    };
    Some(value.to_owned())
}

fn text(word: &str) -> String {
    expand(word, '\\', &lookup, Quotes::Remove).unwrap_or_else(|error| panic!("{word}: {error}")).text
}

fn error(word: &str) -> ExpandError {
    expand(word, '\\', &lookup, Quotes::Remove).expect_err(word)
}

#[test]
fn a_variable_is_replaced_by_its_value() {
    assert_eq!(text("a$v-b${v}c"), "aplain-bplainc");
    assert_eq!(text("$vx${empty}$unset."), ".");
    assert_eq!(text("$한"), "国");
}

#[test]
fn a_dollar_before_anything_else_stays() {
    assert_eq!(text("$. $ $/$"), "$. $ $/$");
    assert_eq!(text("$(v)"), "$(v)");
}

#[test]
fn special_parameters_are_empty() {
    assert_eq!(text("$0$1$12$@$*$#$?$-$$$!x${1}${@}${?}"), "x");
    assert_eq!(text("${1:-d}${@:-e}${001:+f}"), "de");
}

#[test]
fn quotes_go_and_single_ones_stop_everything() {
    assert_eq!(text("'$v\\'\"$v\""), "$v\\plain");
    assert_eq!(text("\"it's\" 'a \"b\"'"), "it's a \"b\"");
    assert_eq!(text("a''b\"\""), "ab");
}

#[test]
fn the_escape_character_makes_literal() {
    assert_eq!(text(r"\$v \\ \' \x"), r"$v \ ' x");
    assert_eq!(text(r#""\$v \" \\ \x""#), r#"$v " \ \x"#);
    assert_eq!(text("end\\"), "end");
    assert_eq!(expand(r"`$v\n", '`', &lookup, Quotes::Remove).unwrap().text, r"$v\n");
}

#[test]
fn a_default_stands_in_for_unset_and_with_a_colon_for_empty() {
    assert_eq!(text("${unset-d} ${empty-d} ${v-d}"), "d  plain");
    assert_eq!(text("${unset:-d} ${empty:-d} ${v:-d}"), "d d plain");
    assert_eq!(text("${unset:-${unset:-$v}}"), "plain");
    assert_eq!(text("${unset:-'a}b'}c"), "a}bc");
}

#[test]
fn an_alternative_stands_in_for_set() {
    assert_eq!(text("[${unset+a}] [${empty+a}] [${v+a}]"), "[] [a] [a]");
    assert_eq!(text("[${unset:+a}] [${empty:+a}] [${v:+a$v}]"), "[] [] [aplain]");
}

#[test]
fn a_required_variable_that_is_missing_is_an_error_with_its_message() {
    assert_eq!(text("${v:?no}${empty?no}"), "plain");
    assert_eq!(error("x${unset?say $v}").to_string(), "unset: say plain");
    assert_eq!(error("${unset:?}").to_string(), "unset: is not allowed to be unset");
    assert_eq!(error("${empty:?}").to_string(), "empty: is not allowed to be empty");
    assert_eq!(error("x${unset?m}").at(), 1);
}

#[test]
fn patterns_trim_and_replace() {
    assert_eq!(text("${path#*/} ${path##*/}"), "a/b.tar.gz b.tar.gz");
    assert_eq!(text("${path%.*} ${path%%.*}"), "/a/b.tar /a/b");
    assert_eq!(text("${path/a/x} ${path//[ab]/x}"), "/x/b.tar.gz /a/b.tar.gz");
    assert_eq!(text(r"${path//\//_}"), "_a_b.tar.gz");
    assert_eq!(text("${path#$empty}${path/$unset2/-}"), "/a/b.tar.gz-/a/b.tar.gz");
}

#[test]
fn what_is_no_substitution_is_an_error() {
    for word in ["${}", "${:-x}", "${{v}", "${", "${v", "${v:-x", "${v:", "${v/x", "${v/x}", "${v//x/y"] {
        error(word);
    }
    assert!(matches!(error("${v=x}"), ExpandError::Modifier { .. }));
    assert!(matches!(error("${v:1:2}"), ExpandError::Modifier { .. }));
    assert!(matches!(error("${v:#x}"), ExpandError::Modifier { .. }));
    assert!(matches!(error(r"${v#\x}"), ExpandError::Pattern { .. }));
    assert!(matches!(error("a'b"), ExpandError::OpenQuote { quote: '\'', at: 1 }));
    assert!(matches!(error("a\"b"), ExpandError::OpenQuote { quote: '"', at: 1 }));
}

#[test]
fn names_without_value_are_reported_once_and_apart_when_handled() {
    let made = expand("$b ${a} $b ${c:-x} ${d+y} ${e%z} $v", '\\', &lookup, Quotes::Remove).unwrap();
    assert_eq!(made.unset, ["b", "a", "e"]);
    assert_eq!(made.defaulted, ["c", "d"]);
}

#[test]
fn heredoc_bodies_keep_their_quotes() {
    let made = expand("echo \"$v\" 'it' \\$v it's\n", '\\', &lookup, Quotes::Keep).unwrap();
    assert_eq!(made.text, "echo \"plain\" 'it' $v it's\n");
}

#[test]
fn words_split_after_expansion_except_in_quotes() {
    let words = |word: &str| expand_words(word, '\\', &lookup).unwrap().text;
    assert_eq!(words("a $two b"), ["a", "x", "y", "b"]);
    assert_eq!(words("'a b' \"$two\" c\\ d"), ["a b", "x  y", "c d"]);
    assert_eq!(words("a${unset:-b}c"), ["abc"]);
    assert_eq!(words(" $unset '' "), Vec::<String>::new());
}

#[test]
fn deep_nesting_is_an_error_and_long_words_are_not() {
    let deep = "${a:-".repeat(100_000);
    assert!(matches!(error(&deep), ExpandError::Depth { .. }));
    let long = "${v}\\$".repeat(200_000);
    assert_eq!(text(&long).len(), 200_000 * 6);
}

#[test]
fn a_word_that_its_values_make_too_long_is_an_error() {
    let value = "x".repeat(1_000);
    let lookup = |_: &str| Some(value.clone());
    let too_long =
        |word: &str, quotes| matches!(expand(word, '\\', &lookup, quotes), Err(ExpandError::TooLong { .. }));
    let many = "$a".repeat(2_000);
    assert!(too_long(&many, Quotes::Remove));
    assert!(!too_long(&many, Quotes::Keep));
    assert!(too_long(&"$a".repeat(20_000), Quotes::Keep));
    assert!(too_long("${a//?/${a//?/${a//?/$a}}}", Quotes::Remove));
    assert!(!too_long(&"x".repeat(3_000_000), Quotes::Remove));
}

#[test]
fn many_names_without_value_are_noted_in_one_pass() {
    let word: String = (0..200_000).map(|number| format!("$a{number} ")).collect();
    assert_eq!(expand(&word, '\\', &lookup, Quotes::Remove).unwrap().unset.len(), 200_000);
}
