//! `/etc/subuid` and `/etc/subgid`: the ids that a user may map into a user namespace (subuid(5)).

/// A range of ids of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first.
    pub(super) start: u32,
    /// How many.
    pub(super) count: u32,
}

/// The ranges that the file's `text` gives to the user called `name` or numbered `uid`, in file order.
pub(super) fn ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next().filter(|owner| Some(*owner) == name || *owner == number);
            owner?;
            let start = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok().filter(|count| *count > 0)?;
            Some(Range { start, count })
        })
        .collect()
}

/// The arguments of `newuidmap` and `newgidmap` after the process id, three for each range: 0 is the user,
/// 1 and on are the ranges one after the other.
pub(super) fn map_arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside: u64 = 1;
    for range in ranges {
        arguments.extend([inside.to_string(), range.start.to_string(), range.count.to_string()]);
        inside += u64::from(range.count);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_name_and_by_number_count_and_others_do_not() {
        let text = "other:1:2\nme:100000:65536\n# me:5:5\n1000:300000:10\nme:bad:1\nme:7:0\nmel:8:8\n";
        assert_eq!(
            ranges(text, Some("me"), 1000),
            [Range { start: 100_000, count: 65_536 }, Range { start: 300_000, count: 10 }]
        );
        assert_eq!(ranges(text, None, 4), []);
        assert_eq!(
            map_arguments(1000, &ranges(text, Some("me"), 1000)).join(" "),
            "0 1000 1 1 100000 65536 65537 300000 10"
        );
    }
}
