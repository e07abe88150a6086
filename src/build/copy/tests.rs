//! Every rule of COPY and ADD by its name, on trees in memory.

use super::*;
use crate::build::owner::OwnerSpec;
use crate::build::workdir::workdir;
use crate::context::{ArchiveEntry, IgnoreFile, Place, SourcePattern, select};
use crate::tree::{Change, Users};

/// A tree from lines: `path kind mode uid:gid @mtime`, where the kind is `dir`, `file`, `->target` or
/// `=first name`. A file's content is its own path.
fn tree(lines: &[&str]) -> Tree {
    let mut changes = ChangeSet::default();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let path = ImagePath::clamped(fields[0]);
        let (uid, gid) = fields.get(3).copied().unwrap_or("0:0").split_once(':').unwrap();
        let metadata = Metadata {
            mode: u32::from_str_radix(fields.get(2).copied().unwrap_or("755"), 8).unwrap(),
            uid: uid.parse().unwrap(),
            gid: gid.parse().unwrap(),
            mtime: fields.get(4).copied().unwrap_or("@1000")[1..].parse().unwrap(),
            ..Metadata::default()
        };
        let entry = |kind| Entry { kind, metadata: metadata.clone() };
        match fields[1] {
            "dir" => changes.put(path, entry(Kind::Directory)),
            "file" => {
                let size = path.as_bytes().len() as u64;
                let content = Content::inline(path.as_bytes());
                changes.put_file(path, entry(Kind::File { size }), content, None);
            }
            "fifo" => changes.put(path, entry(Kind::Fifo)),
            link if link.starts_with("->") => {
                changes.put(path, entry(Kind::Symlink { target: link[2..].into() }));
            }
            first => {
                let target = ImagePath::clamped(first.strip_prefix('=').unwrap());
                changes.put(path, entry(Kind::Hardlink { target }));
            }
        }
    }
    let mut tree = Tree::default();
    tree.apply(&changes);
    tree
}

/// A change set as lines, in order; times only where asked for.
fn lines(changes: &ChangeSet, times: bool) -> Vec<String> {
    let line = |(path, change): (&ImagePath, &Change)| {
        let Change::Put { entry, content, .. } = change else { return format!("{path} replaced") };
        let kind = match &entry.kind {
            Kind::Directory => "dir".into(),
            Kind::File { .. } => {
                let bytes = content.as_ref().map(|content| content.read_up_to(1 << 20).unwrap());
                format!("file({})", String::from_utf8(bytes.unwrap_or_default()).unwrap())
            }
            Kind::Symlink { target } => format!("->{}", String::from_utf8_lossy(target)),
            Kind::Hardlink { target } => format!("={target}"),
            other => format!("{other:?}"),
        };
        let Metadata { mode, uid, gid, mtime, .. } = &entry.metadata;
        let time = if times { format!(" @{mtime}") } else { String::new() };
        format!("{path} {kind} {mode:o} {uid}:{gid}{time}")
    };
    changes.changes.iter().map(line).collect()
}

/// A COPY to be tried, as its line would read.
struct Case<'a> {
    from: &'a Tree,
    image: &'a Tree,
    workdir: &'a str,
    chown: Option<Owner>,
    chmod: Option<Chmod>,
    link: bool,
    parents: bool,
    exclude: Vec<&'a str>,
}

impl<'a> Case<'a> {
    fn new(from: &'a Tree, image: &'a Tree) -> Self {
        let (chown, chmod, exclude) = (None, None, Vec::new());
        Self { from, image, workdir: "/", chown, chmod, link: false, parents: false, exclude }
    }

    fn change_set(&self, sources: &[&str], destination: &str) -> Result<ChangeSet, CopyError> {
        let exclude = IgnoreFile::from_patterns("--exclude", self.exclude.iter().copied()).unwrap();
        let place = Place { tree: self.from, name: "the build context", ignore: None };
        let sources = sources
            .iter()
            .map(|source| {
                let pattern = SourcePattern::parse(source, self.parents).unwrap();
                Source::Files(select(place, &pattern, &exclude).unwrap())
            })
            .collect();
        let (workdir, chown, link) = (self.workdir, self.chown, self.link);
        let chmod = self.chmod.as_ref();
        copy(self.image, &CopyOp { sources, destination, workdir, chown, chmod, link })
    }

    fn copy(&self, sources: &[&str], destination: &str) -> Vec<String> {
        lines(&self.change_set(sources, destination).unwrap(), false)
    }

    fn error(&self, sources: &[&str], destination: &str) -> String {
        self.change_set(sources, destination).unwrap_err().to_string()
    }
}

fn context() -> Tree {
    tree(&[
        "app dir 700",
        "app/bin dir 711",
        "app/bin/run file 755",
        "app/readme.md file 644 0:0 @2000",
        "a.txt file 640 0:0 @3000",
        "b.txt file 600",
        "link ->a.txt 777",
        "out ->../../etc/passwd 777",
        "sub ->app/bin 777",
    ])
}

fn base() -> Tree {
    tree(&[
        "etc dir 755",
        "etc/passwd file 644",
        "usr dir 755",
        "usr/bin dir 755 0:0 @7",
        "bin ->usr/bin 777",
        "srv dir 750 7:8 @9",
        "srv/old file 600 7:8",
        "tmp dir 1777",
    ])
}

#[test]
fn a_directory_source_copies_its_contents() {
    let (from, image) = (context(), base());
    let expected = [
        "/opt dir 755 0:0",
        "/opt/bin dir 711 0:0",
        "/opt/bin/run file(app/bin/run) 755 0:0",
        "/opt/readme.md file(app/readme.md) 644 0:0",
    ];
    for source in ["app", "app/", "app/.", "/app", "./app", "../app", "x/../app"] {
        for destination in ["/opt", "/opt/", "opt"] {
            assert_eq!(Case::new(&from, &image).copy(&[source], destination), expected);
        }
    }
}

#[test]
fn the_whole_context_is_a_directory_too() {
    let from = tree(&["a file 644"]);
    for source in [".", "/", "./", ".."] {
        assert_eq!(
            Case::new(&from, &Tree::default()).copy(&[source], "/x/"),
            ["/x dir 755 0:0", "/x/a file(a) 644 0:0"]
        );
        assert_eq!(Case::new(&from, &Tree::default()).copy(&[source], "/"), ["/a file(a) 644 0:0"]);
    }
}

#[test]
fn a_file_goes_inside_a_directory_and_otherwise_takes_the_destinations_name() {
    let (from, image) = (context(), base());
    let case = Case::new(&from, &image);
    for (destination, last) in [
        ("/etc", "/etc/a.txt file(a.txt) 640 0:0"),
        ("/etc/", "/etc/a.txt file(a.txt) 640 0:0"),
        ("/etc/.", "/etc/a.txt file(a.txt) 640 0:0"),
        ("/etc/new", "/etc/new file(a.txt) 640 0:0"),
        ("/etc/new/", "/etc/new/a.txt file(a.txt) 640 0:0"),
        ("/etc/new/.", "/etc/new/a.txt file(a.txt) 640 0:0"),
        ("/", "/a.txt file(a.txt) 640 0:0"),
        ("/x/y/z", "/x/y/z file(a.txt) 640 0:0"),
    ] {
        assert_eq!(case.copy(&["a.txt"], destination).last().unwrap(), last, "to {destination}");
    }
}

#[test]
fn a_relative_destination_starts_at_the_working_directory() {
    let (from, image) = (context(), Tree::default());
    let case = Case { workdir: "/w", ..Case::new(&from, &image) };
    for (destination, path) in
        [(".", "/w/a.txt"), ("", "/w/a.txt"), ("./", "/w/a.txt"), ("x", "/w/x"), ("../x", "/x"), ("/x", "/x")]
    {
        let last = case.copy(&["a.txt"], destination).pop().unwrap();
        assert_eq!(last, format!("{path} file(a.txt) 640 0:0"), "to {destination:?}");
    }
}

#[test]
fn several_sources_fill_a_directory_and_of_two_files_for_one_path_the_last_wins() {
    let (from, image) = (context(), base());
    let case = Case::new(&from, &image);
    assert_eq!(case.copy(&["a.txt", "b.txt"], "/new/").len(), 3);
    assert_eq!(case.copy(&["a.txt", "b.txt"], "/srv").len(), 3);
    assert_eq!(case.copy(&["app", "app/bin"], "/new").len(), 5);
    for sources in [&["a.txt", "b.txt"][..], &["[ab].txt"], &["none*", "*.txt"]] {
        assert_eq!(case.copy(sources, "/new"), ["/new file(b.txt) 600 0:0"]);
    }
}

#[test]
fn the_destinations_links_are_followed_inside_the_image() {
    let from = context();
    let image = tree(&[
        "usr dir",
        "usr/bin dir",
        "bin ->usr/bin 777",
        "up ->../../../usr 777",
        "file ->usr/target 777",
        "usr/target file 644",
        "gone ->/nowhere/x 777",
        "loop ->loop 777",
    ]);
    let case = Case::new(&from, &image);
    assert_eq!(case.copy(&["a.txt"], "/bin/x").last().unwrap(), "/usr/bin/x file(a.txt) 640 0:0");
    assert_eq!(case.copy(&["a.txt"], "/bin").last().unwrap(), "/usr/bin/a.txt file(a.txt) 640 0:0");
    assert_eq!(case.copy(&["a.txt"], "/up/x").last().unwrap(), "/usr/x file(a.txt) 640 0:0");
    assert_eq!(case.copy(&["a.txt"], "/file"), ["/usr dir 755 0:0", "/usr/target file(a.txt) 640 0:0"]);
    assert_eq!(case.copy(&["a.txt"], "/gone").last().unwrap(), "/nowhere/x file(a.txt) 640 0:0");
    assert_eq!(case.copy(&["app/bin"], "/bin").last().unwrap(), "/usr/bin/run file(app/bin/run) 755 0:0");
    assert_eq!(case.error(&["a.txt"], "/loop"), "/loop leads through too many symbolic links");
}

#[test]
fn link_copies_follow_nothing_of_the_image() {
    let (from, image) = (context(), base());
    let case = Case { link: true, ..Case::new(&from, &image) };
    assert_eq!(case.copy(&["a.txt"], "/bin/x"), ["/bin dir 755 0:0", "/bin/x file(a.txt) 640 0:0"]);
    assert_eq!(case.copy(&["a.txt"], "/srv"), ["/srv file(a.txt) 640 0:0"]);
}

#[test]
fn a_copy_onto_the_wrong_kind_fails() {
    let from = tree(&["d dir", "d/etc dir", "d/etc/x file", "e dir", "e/usr file", "f file"]);
    let image = tree(&["etc file", "usr dir", "l ->usr 777", "t dir", "t/etc ->/usr 777"]);
    let case = Case::new(&from, &image);
    assert_eq!(case.error(&["d"], "/"), "cannot copy to non-directory /etc");
    assert_eq!(case.error(&["d"], "/t"), "cannot copy to non-directory /t/etc");
    assert_eq!(case.error(&["d"], "/etc"), "cannot copy to non-directory /etc");
    assert_eq!(case.error(&["f"], "/etc/x"), "cannot copy to non-directory /etc");
    assert_eq!(case.error(&["f"], "/etc/"), "cannot copy to non-directory /etc");
    assert_eq!(case.error(&["e"], "/"), "cannot replace directory /usr with a file");
}

#[test]
fn files_inside_a_copied_tree_replace_links_and_are_never_written_through() {
    let from = tree(&["d dir", "d/l file 600"]);
    let image = tree(&["t dir", "t/l ->/t/other 777", "t/other file"]);
    assert_eq!(Case::new(&from, &image).copy(&["d"], "/t"), ["/t dir 755 0:0", "/t/l file(d/l) 600 0:0"]);
    let into = tree(&["l file 600"]);
    assert_eq!(Case::new(&into, &image).copy(&["l"], "/t"), ["/t dir 755 0:0", "/t/l file(l) 600 0:0"]);
}

#[test]
fn merging_keeps_the_top_directory_and_overwrites_existing_subdirectories() {
    let from = tree(&["d dir 700 1:1", "d/sub dir 711 2:2", "d/sub/f file 600 3:3"]);
    let image = tree(&["t dir 750 7:8", "t/sub dir 755 9:9", "t/sub/old file"]);
    assert_eq!(
        Case::new(&from, &image).copy(&["d"], "/t"),
        ["/t dir 750 7:8", "/t/sub dir 711 2:2", "/t/sub/f file(d/sub/f) 600 3:3"]
    );
}

#[test]
fn made_directories_are_roots_0755_or_take_chown_and_octal_chmod() {
    let (from, image) = (context(), Tree::default());
    let mut case = Case::new(&from, &image);
    assert_eq!(
        case.copy(&["a.txt"], "/p/q/f"),
        ["/p dir 755 0:0", "/p/q dir 755 0:0", "/p/q/f file(a.txt) 640 0:0"]
    );
    case.chown = Some(Owner { uid: 5, gid: 6 });
    case.chmod = Some(Chmod::parse("770").unwrap());
    assert_eq!(
        case.copy(&["a.txt"], "/p/q/f"),
        ["/p dir 750 5:6", "/p/q dir 750 5:6", "/p/q/f file(a.txt) 770 5:6"]
    );
    case.chmod = Some(Chmod::parse("644").unwrap());
    assert_eq!(case.copy(&["a.txt"], "/p/f"), ["/p dir 644 5:6", "/p/f file(a.txt) 644 5:6"]);
    case.chmod = Some(Chmod::parse("go=").unwrap());
    assert_eq!(case.copy(&["a.txt"], "/p/f"), ["/p dir 755 5:6", "/p/f file(a.txt) 600 5:6"]);
}

#[test]
fn chown_and_chmod_apply_to_everything_copied_but_not_to_what_was_there() {
    let from = tree(&["d dir 700", "d/s dir 700", "d/s/f file 600", "d/l ->f 777"]);
    let image = tree(&["t dir 711 1:1"]);
    let case = Case {
        chown: Some(OwnerSpec::parse("5").unwrap().resolve(&Users::default()).unwrap()),
        chmod: Some(Chmod::parse("u=rwX,go=rX").unwrap()),
        ..Case::new(&from, &image)
    };
    assert_eq!(
        case.copy(&["d"], "/t"),
        ["/t dir 711 1:1", "/t/l ->f 777 5:5", "/t/s dir 755 5:5", "/t/s/f file(d/s/f) 644 5:5"]
    );
}

#[test]
fn owners_and_set_id_bits_of_the_source_are_kept() {
    let from = tree(&["su file 4755 3:4", "d dir 2770 3:4", "d/x file 2711 5:6"]);
    let case = Case::new(&from, &from);
    assert_eq!(case.copy(&["su"], "/new"), ["/new file(su) 4755 3:4"]);
    let owned = Case { chown: Some(Owner { uid: 9, gid: 9 }), ..Case::new(&from, &from) };
    assert_eq!(owned.copy(&["su"], "/new"), ["/new file(su) 4755 9:9"]);
    assert_eq!(case.copy(&["d"], "/new"), ["/new dir 755 0:0", "/new/x file(d/x) 2711 5:6"]);
}

#[test]
fn a_named_link_is_followed_and_a_link_in_a_tree_is_copied() {
    let (from, image) = (context(), Tree::default());
    let case = Case::new(&from, &image);
    assert_eq!(case.copy(&["link"], "/"), ["/link file(a.txt) 640 0:0"]);
    assert_eq!(case.copy(&["sub"], "/x"), ["/x dir 755 0:0", "/x/run file(app/bin/run) 755 0:0"]);
    assert_eq!(case.copy(&["sub/run"], "/"), ["/run file(app/bin/run) 755 0:0"]);
    assert!(case.copy(&["."], "/x").contains(&"/x/link ->a.txt 777 0:0".to_owned()));
}

#[test]
fn links_that_lead_out_stay_inside_the_tree() {
    let from = context();
    let place = Place { tree: &from, name: "the build context", ignore: None };
    let pattern = SourcePattern::parse("out", false).unwrap();
    let error = select(place, &pattern, &IgnoreFile::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"out\" is not in the build context: it is a symbolic link to \"../../etc/passwd\", which is not there or left out"
    );
    let with_etc = tree(&["etc dir", "etc/passwd file 644", "out ->../../etc/passwd 777"]);
    assert_eq!(Case::new(&with_etc, &Tree::default()).copy(&["out"], "/x"), ["/x file(etc/passwd) 644 0:0"]);
}

#[test]
fn wildcards_match_by_component_and_matched_directories_give_their_contents() {
    let from = tree(&[
        "a dir",
        "a/f file",
        "a/g.c file",
        "b dir",
        "b/f file",
        "b/sub dir",
        "b/sub/f file",
        "c ->a 777",
        "x.c file",
        ".h file",
    ]);
    let image = Tree::default();
    let case = Case::new(&from, &image);
    let names = |source: &str| -> Vec<String> {
        case.copy(&[source], "/o/").iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names("*.c"), ["/o", "/o/x.c"]);
    assert_eq!(names("*/*.c"), ["/o", "/o/g.c"]);
    assert_eq!(names("[ab]"), ["/o", "/o/f", "/o/g.c", "/o/sub", "/o/sub/f"]);
    assert_eq!(names("*/f"), ["/o", "/o/f"]);
    assert_eq!(names("?"), ["/o", "/o/f", "/o/g.c", "/o/sub", "/o/sub/f"]);
    assert_eq!(names("*h"), ["/o", "/o/.h"]);
    assert_eq!(names("c/*.c"), ["/o", "/o/g.c"]);
}

#[test]
fn a_wildcard_may_match_nothing_and_a_plain_name_may_not() {
    let (from, image) = (context(), Tree::default());
    let case = Case::new(&from, &image);
    assert_eq!(case.copy(&["none*"], "/x/"), [""; 0]);
    assert_eq!(case.copy(&["none*", "a.txt"], "/x/").len(), 2);
    let ignore = IgnoreFile::parse(".dockerignore", b"*.log\n").unwrap();
    let place = Place { tree: &from, name: "the build context", ignore: Some(&ignore) };
    let missing = |text: &str| {
        select(place, &SourcePattern::parse(text, false).unwrap(), &IgnoreFile::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(missing("none"), "\"none\" is not in the build context");
    assert_eq!(missing("app/none/x"), "\"app/none/x\" is not in the build context");
    assert_eq!(
        missing("app/redame.md"),
        "\"app/redame.md\" is not in the build context: did you mean \"app/readme.md\"?"
    );
    assert_eq!(
        missing("apq/readme.md"),
        "\"apq/readme.md\" is not in the build context: did you mean \"app/readme.md\"?"
    );
    assert_eq!(
        missing("./a.log"),
        "\"./a.log\" is not in the build context: it is excluded by \".dockerignore:1: *.log\""
    );
}

#[test]
fn a_circle_of_links_is_an_error_of_its_own() {
    let from = tree(&["one ->two 777", "two ->one 777"]);
    let place = Place { tree: &from, name: "stage build", ignore: None };
    let error =
        select(place, &SourcePattern::parse("one/x", false).unwrap(), &IgnoreFile::default()).unwrap_err();
    assert_eq!(error.to_string(), "\"one/x\" leads through too many symbolic links in stage build");
}

#[test]
fn escapes_name_files_with_special_characters() {
    let from = tree(&["[xyz] dir", "[xyz]/f file", "what? file", "back\\slash file"]);
    let image = Tree::default();
    let case = Case::new(&from, &image);
    assert_eq!(case.copy(&["[[]xyz]/f"], "/"), ["/f file([xyz]/f) 755 0:0"]);
    assert_eq!(case.copy(&["\\[xyz]/f"], "/"), ["/f file([xyz]/f) 755 0:0"]);
    assert_eq!(case.copy(&["what\\?"], "/"), ["/what? file(what?) 755 0:0"]);
    assert_eq!(case.copy(&["back\\slash"], "/x"), ["/x file(back\\slash) 755 0:0"]);
}

#[test]
fn parents_keep_the_source_path_below_the_pivot() {
    let from = tree(&[
        "x dir 770",
        "x/a.txt file 660",
        "x/y dir 700",
        "x/y/a.txt file 661",
        "x/y/b.txt file 662",
        "y dir 755",
        "y/b.txt file 663",
    ]);
    let image = Tree::default();
    let case = Case { parents: true, ..Case::new(&from, &image) };
    assert_eq!(
        case.copy(&["x/y/a.txt"], "/p/"),
        ["/p dir 755 0:0", "/p/x dir 770 0:0", "/p/x/y dir 700 0:0", "/p/x/y/a.txt file(x/y/a.txt) 661 0:0"]
    );
    assert_eq!(
        case.copy(&["./x/./y/a.txt"], "/p/"),
        ["/p dir 755 0:0", "/p/y dir 700 0:0", "/p/y/a.txt file(x/y/a.txt) 661 0:0"]
    );
    let names = |source: &str| -> Vec<String> {
        case.copy(&[source], "/p").iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names("**/b.txt"), ["/p", "/p/x", "/p/x/y", "/p/x/y/b.txt", "/p/y", "/p/y/b.txt"]);
    assert_eq!(names("*/b.txt"), ["/p", "/p/y", "/p/y/b.txt"]);
    assert_eq!(names("x/./*"), ["/p", "/p/a.txt", "/p/y", "/p/y/a.txt", "/p/y/b.txt"]);
    assert_eq!(names("./x/./"), ["/p", "/p/a.txt", "/p/y", "/p/y/a.txt", "/p/y/b.txt"]);
    assert_eq!(names("x/y/"), ["/p", "/p/x", "/p/x/y", "/p/x/y/a.txt", "/p/x/y/b.txt"]);
    assert_eq!(names("none*"), ["/p"]);
    let place = Place { tree: &from, name: "the build context", ignore: None };
    assert!(select(place, &SourcePattern::parse("x/none", true).unwrap(), &IgnoreFile::default()).is_err());
}

#[test]
fn an_existing_directory_above_a_chosen_path_takes_only_the_mode() {
    let from = tree(&["x dir 700 5:5", "x/f file 600 5:5"]);
    let image = tree(&["x dir 755 1:1"]);
    let case = Case { parents: true, ..Case::new(&from, &image) };
    assert_eq!(case.copy(&["x/f"], "/"), ["/x dir 700 1:1", "/x/f file(x/f) 600 5:5"]);
}

#[test]
fn exclude_is_relative_to_the_source_and_can_include_again() {
    let from = tree(&[
        "app dir",
        "app/a.md file",
        "app/keep.md file",
        "app/s dir",
        "app/s/v dir",
        "app/s/v/x file",
        "app/s/w file",
        "z.md file",
        "z.c file",
    ]);
    let image = Tree::default();
    let names = |exclude: &[&str], source: &str| -> Vec<String> {
        let case = Case { exclude: exclude.to_vec(), ..Case::new(&from, &image) };
        case.copy(&[source], "/o/").iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["*.md", "!keep.md", "s/v"], "app"), ["/o", "/o/keep.md", "/o/s", "/o/s/w"]);
    assert_eq!(names(&["s", "!s/v/x"], "app"), ["/o", "/o/a.md", "/o/keep.md", "/o/s", "/o/s/v", "/o/s/v/x"]);
    assert_eq!(names(&["app/s"], "app").len(), 7);
    assert_eq!(names(&["*.md"], "z*"), ["/o", "/o/z.c"]);
    assert_eq!(
        names(&["**/x", "**/*.md"], "."),
        ["/o", "/o/app", "/o/app/s", "/o/app/s/v", "/o/app/s/w", "/o/z.c"]
    );
}

#[test]
fn hard_links_inside_one_copy_are_preserved() {
    let from = tree(&["d dir", "d/m file 600 2:2", "d/z =d/m", "d/a =d/m"]);
    let image = Tree::default();
    assert_eq!(
        Case::new(&from, &image).copy(&["d"], "/o"),
        ["/o dir 755 0:0", "/o/a file(d/m) 600 2:2", "/o/m =/o/a 600 2:2", "/o/z =/o/a 600 2:2"]
    );
    assert_eq!(
        Case::new(&from, &image).copy(&["d/m", "d/z"], "/o/"),
        ["/o dir 755 0:0", "/o/m file(d/m) 600 2:2", "/o/z file(d/m) 600 2:2"]
    );
}

#[test]
fn a_later_source_over_a_hard_linked_file_changes_that_name_only() {
    let from = tree(&["d dir", "d/a file 600", "d/b =d/a", "d/c =d/a", "e dir", "e/a file 644"]);
    assert_eq!(
        Case::new(&from, &Tree::default()).copy(&["d", "e"], "/o"),
        ["/o dir 755 0:0", "/o/a file(e/a) 644 0:0", "/o/b file(d/a) 600 0:0", "/o/c =/o/b 600 0:0"]
    );
}

#[test]
fn directories_above_a_change_are_in_it_as_the_image_has_them() {
    let from = tree(&["f file 600"]);
    let image = tree(&["a dir 711 1:2 @50", "a/b dir 1777 3:4 @60", "a/c dir"]);
    let changes = Case::new(&from, &image).change_set(&["f"], "/a/b/f").unwrap();
    assert_eq!(
        lines(&changes, true),
        ["/a dir 711 1:2 @50", "/a/b dir 1777 3:4 @60", "/a/b/f file(f) 600 0:0 @1000"]
    );
}

#[test]
fn made_directories_have_the_time_of_the_newest_file_they_were_made_for() {
    let (from, image) = (context(), base());
    let changes = Case::new(&from, &image).change_set(&["app/readme.md", "a.txt"], "/p/q/").unwrap();
    assert_eq!(
        lines(&changes, true),
        [
            "/p dir 755 0:0 @3000",
            "/p/q dir 755 0:0 @3000",
            "/p/q/a.txt file(a.txt) 640 0:0 @3000",
            "/p/q/readme.md file(app/readme.md) 644 0:0 @2000",
        ]
    );
}

#[test]
fn a_heredoc_is_a_file_named_by_its_delimiter() {
    let copy_to = |destination: &str| {
        let sources = vec![Source::Inline(Inline::heredoc("EOF", "hello\n"))];
        let (workdir, chown, chmod, link) = ("/w", None, None, false);
        let op = CopyOp { sources, destination, workdir, chown, chmod, link };
        lines(&copy(&base(), &op).unwrap(), false).pop().unwrap()
    };
    assert_eq!(copy_to("/etc/motd"), "/etc/motd file(hello\n) 644 0:0");
    assert_eq!(copy_to("/etc"), "/etc/EOF file(hello\n) 644 0:0");
    assert_eq!(copy_to("x/"), "/w/x/EOF file(hello\n) 644 0:0");
}

#[test]
fn named_pipes_are_copied_as_such() {
    let from = tree(&["d dir", "d/p fifo 600"]);
    assert_eq!(
        Case::new(&from, &Tree::default()).copy(&["d"], "/o"),
        ["/o dir 755 0:0", "/o/p Fifo 600 0:0"]
    );
}

/// An archive of what the lines say, and a hard link by `=`.
fn archive(members: &[&str]) -> Archive {
    let entries = members.iter().map(|line| {
        let name = line.split(' ').next().unwrap();
        let one = match line.split_once(" =") {
            Some((_, target)) => {
                let entry = Entry {
                    kind: Kind::Hardlink { target: ImagePath::clamped(target.split(' ').next().unwrap()) },
                    metadata: Metadata::default(),
                };
                return ArchiveEntry { path: ImagePath::clamped(name), entry, content: None, hash: None };
            }
            None => tree(&[line]),
        };
        let path = ImagePath::clamped(name);
        let node = one.get(&path).unwrap().clone();
        ArchiveEntry { path, entry: node.entry, content: node.content, hash: None }
    });
    Archive { entries: entries.collect() }
}

fn add(
    image: &Tree,
    archive: &Archive,
    destination: &str,
    chown: Option<Owner>,
) -> Result<Vec<String>, CopyError> {
    let sources = vec![Source::Archive(archive)];
    let op = CopyOp { sources, destination, workdir: "/", chown, chmod: None, link: false };
    Ok(lines(&copy(image, &op)?, false))
}

#[test]
fn an_archive_is_laid_out_with_its_own_owners() {
    let archive = archive(&["d dir 711 4:5", "d/f file 600 6:7", "e/g file 644 8:9"]);
    assert_eq!(
        add(&Tree::default(), &archive, "/o", None).unwrap(),
        [
            "/o dir 755 0:0",
            "/o/d dir 711 4:5",
            "/o/d/f file(d/f) 600 6:7",
            "/o/e dir 755 0:0",
            "/o/e/g file(e/g) 644 8:9",
        ]
    );
    let owned = add(&Tree::default(), &archive, "/o", Some(Owner { uid: 1, gid: 2 })).unwrap();
    assert_eq!(owned[0], "/o dir 755 1:2");
    assert_eq!(owned[2], "/o/d/f file(d/f) 600 1:2");
}

#[test]
fn of_the_matches_of_one_added_source_archives_are_unpacked_and_files_copied() {
    let from = tree(&["one file 600", "two file 644"]);
    let place = Place { tree: &from, name: "the build context", ignore: None };
    let selected = select(place, &SourcePattern::parse("*", false).unwrap(), &IgnoreFile::default()).unwrap();
    let archive = archive(&["in file 640"]);
    let sources = vec![Source::Archive(&archive), Source::Files(selected[1..].to_vec())];
    let op = CopyOp { sources, destination: "/o", workdir: "/", chown: None, chmod: None, link: false };
    assert_eq!(
        lines(&copy(&Tree::default(), &op).unwrap(), false),
        ["/o dir 755 0:0", "/o/in file(in) 640 0:0", "/o/two file(two) 644 0:0"]
    );
}

#[test]
fn the_archives_own_root_does_not_change_the_destination() {
    let mut archive = archive(&["x file 600"]);
    let root =
        ArchiveEntry { path: ImagePath::root(), entry: Entry::directory(0o700), content: None, hash: None };
    archive.entries.insert(0, root);
    assert_eq!(add(&base(), &archive, "/srv", None).unwrap(), ["/srv dir 750 7:8", "/srv/x file(x) 600 0:0"]);
}

#[test]
fn archive_entries_replace_what_is_in_their_way_but_follow_links_to_directories() {
    let image = tree(&["t dir", "t/f file", "t/d dir", "t/d/old file", "t/l ->d 777", "t/abs ->/d 777"]);
    let laid_out = |members: &[&str]| add(&image, &archive(members), "/t", None).unwrap();
    assert_eq!(laid_out(&["f dir 700 1:1"]), ["/t dir 755 0:0", "/t/f dir 700 1:1"]);
    assert_eq!(laid_out(&["d file 600"]), ["/t dir 755 0:0", "/t/d file(d) 600 0:0"]);
    assert_eq!(laid_out(&["l dir 700", "l/x file"])[1..], ["/t/d dir 700 0:0", "/t/d/x file(l/x) 755 0:0"]);
    assert_eq!(laid_out(&["abs/x file"])[2..], ["/t/d/x file(abs/x) 755 0:0"]);
    assert_eq!(laid_out(&["l file 600"])[1..], ["/t/l file(l) 600 0:0"]);
    assert_eq!(laid_out(&["d file 600", "d dir 700"]), ["/t dir 755 0:0", "/t/d replaced"]);
}

#[test]
fn links_of_an_archive_cannot_lead_later_entries_out_of_the_destination() {
    let laid_out = add(
        &base(),
        &archive(&["up ->../../../etc 777", "up/x file 600", "abs ->/etc 777", "abs/y file 600"]),
        "/srv",
        None,
    )
    .unwrap();
    assert!(laid_out.contains(&"/srv/etc/x file(up/x) 600 0:0".to_owned()));
    assert!(laid_out.contains(&"/srv/etc/y file(abs/y) 600 0:0".to_owned()));
    assert!(!laid_out.iter().any(|line| line.starts_with("/etc")));
}

#[test]
fn hard_links_of_an_archive_lead_to_its_files_or_to_files_at_the_destination() {
    let image = tree(&["t dir", "t/there file 640 1:1"]);
    let laid_out = |members: &[&str]| add(&image, &archive(members), "/t", None);
    assert_eq!(
        laid_out(&["z file 600", "a =z", "b =a"]).unwrap()[1..],
        ["/t/a file(z) 600 0:0", "/t/b =/t/a 0 0:0", "/t/z =/t/a 0 0:0"]
    );
    assert_eq!(
        laid_out(&["x =there"]).unwrap()[1..],
        ["/t/there file(t/there) 640 1:1", "/t/x =/t/there 0 0:0"]
    );
    assert!(laid_out(&["x =nothing"]).is_err());
    assert!(laid_out(&["x =../../etc/shadow"]).is_err());
    assert!(laid_out(&["d dir", "x =d"]).is_err());
}

#[test]
fn a_working_directory_is_made_with_all_levels_for_the_current_user() {
    let image = tree(&["srv dir 750 7:8 @9", "l ->/srv/real 777", "f file"]);
    let owner = Owner { uid: 5, gid: 6 };
    let made = |path: &str| workdir(&image, path, owner).map(|changes| lines(&changes, true));
    assert_eq!(
        made("/srv/a/b").unwrap(),
        ["/srv dir 750 7:8 @9", "/srv/a dir 755 5:6 @9", "/srv/a/b dir 755 5:6 @9"]
    );
    assert_eq!(made("/l").unwrap(), ["/srv dir 750 7:8 @9", "/srv/real dir 755 5:6 @9"]);
    assert_eq!(made("/srv").unwrap(), [""; 0]);
    assert_eq!(made("/").unwrap(), [""; 0]);
    assert_eq!(made("/f/x").unwrap_err().to_string(), "cannot copy to non-directory /f");
}
