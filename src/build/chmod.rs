//! `--chmod`: octal, or clauses as `chmod(1)` has them.

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chmod {
    /// These bits (`0o7777` at most).
    Octal(u32),
    /// One after the other.
    Clauses(Vec<Clause>),
}

/// `who op perms`, as in `u=rwX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// The permission bits that it is about.
    who: u32,
    action: Action,
    perms: Perms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Perms {
    Bits {
        /// For all three classes; `who` chooses.
        bits: u32,
        /// `X`: execute, for directories and what somebody could execute before.
        execute_if_any: bool,
    },
    /// What the user, group or others have now, by how far their bits are shifted.
    OfClass(u32),
}

/// A `--chmod` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid --chmod {0:?}: expected an octal number from 0 to 7777, or clauses such as u=rwX,go=rX")]
pub(crate) struct ChmodError(String);

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o0007;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

impl Chmod {
    /// Parse the flag's value.
    pub(crate) fn parse(text: &str) -> Result<Self, ChmodError> {
        let error = || ChmodError(text.to_owned());
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| error())?;
            return if mode <= 0o7777 { Ok(Self::Octal(mode)) } else { Err(error()) };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clauses_of(part, &mut clauses).ok_or_else(error)?;
        }
        Ok(Self::Clauses(clauses))
    }

    /// The mode of something that had `mode`.
    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Clauses(clauses) => {
                clauses.iter().fold(mode, |now, clause| clause.apply(now, directory || mode & EXECUTE != 0))
            }
        }
    }

    /// The mode of directories that have to be made for the destination. An octal mode applies to them too,
    /// less what the usual umask takes.
    pub(crate) fn for_made_directories(&self) -> u32 {
        match self {
            Self::Octal(mode) => mode & 0o755,
            Self::Clauses(_) => 0o755,
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, executable: bool) -> u32 {
        let bits = match self.perms {
            Perms::Bits { bits, execute_if_any } => {
                bits | if execute_if_any && executable { EXECUTE } else { 0 }
            }
            Perms::OfClass(shift) => (mode >> shift & 0o7) * 0o111,
        };
        let bits = bits & (self.who | STICKY);
        match self.action {
            Action::Add => mode | bits,
            Action::Remove => mode & !bits,
            Action::Set => mode & !self.who | bits,
        }
    }
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn clauses_of(part: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let actions = part.find(['+', '-', '='])?;
    let mut who = 0;
    for class in part[..actions].chars() {
        who |= match class {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHERS,
            'a' => USER | GROUP | OTHERS,
            _ => return None,
        };
    }
    if who == 0 {
        who = USER | GROUP | OTHERS;
    }
    let mut rest = &part[actions..];
    while let Some(first) = rest.chars().next() {
        let action = match first {
            '+' => Action::Add,
            '-' => Action::Remove,
            _ => Action::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        clauses.push(Clause { who, action, perms: perms(&rest[1..end])? });
        rest = &rest[end..];
    }
    Some(())
}

fn perms(text: &str) -> Option<Perms> {
    match text {
        "u" => return Some(Perms::OfClass(6)),
        "g" => return Some(Perms::OfClass(3)),
        "o" => return Some(Perms::OfClass(0)),
        _ => {}
    }
    let mut bits = 0;
    let mut execute_if_any = false;
    for letter in text.chars() {
        bits |= match letter {
            'r' => 0o444,
            'w' => 0o222,
            'x' => EXECUTE,
            's' => 0o6000,
            't' => STICKY,
            'X' => {
                execute_if_any = true;
                0
            }
            _ => return None,
        };
    }
    Some(Perms::Bits { bits, execute_if_any })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_changed_as_chmod_does() {
        for (chmod, before, directory, after) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o4755, false, 0o644),
            ("0", 0o777, false, 0),
            ("4755", 0o600, false, 0o4755),
            ("1777", 0o755, true, 0o1777),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+x", 0o600, false, 0o711),
            ("u+x", 0o644, false, 0o744),
            ("go-rwx", 0o777, false, 0o700),
            ("go=", 0o755, false, 0o700),
            ("g=u", 0o750, false, 0o770),
            ("o=g", 0o750, false, 0o755),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("o+s", 0o755, false, 0o755),
            ("u=rx", 0o4755, false, 0o555),
            ("g=rx", 0o4755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
            ("-t", 0o1777, true, 0o777),
            ("ug+w", 0o444, false, 0o664),
            ("u+w-x", 0o555, false, 0o655),
            ("a=r,u+w", 0o777, false, 0o644),
            ("a-x+X", 0o755, false, 0o755),
            ("+X", 0o644, false, 0o644),
        ] {
            let result = Chmod::parse(chmod).unwrap().apply(before, directory);
            assert_eq!(result, after, "{chmod} on {before:o}: {result:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in
            ["", "10000", "64a", "8", "-1", "u", "u=rwz", "x=r", "u=r,", ",u=r", "u=ug", "99999999999", "0x7"]
        {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Chmod::parse("64a").unwrap_err().to_string(),
            "invalid --chmod \"64a\": expected an octal number from 0 to 7777, or clauses such as u=rwX,go=rX"
        );
    }

    #[test]
    fn made_directories_take_an_octal_mode_under_the_usual_umask() {
        assert_eq!(Chmod::parse("770").unwrap().for_made_directories(), 0o750);
        assert_eq!(Chmod::parse("4777").unwrap().for_made_directories(), 0o755);
        assert_eq!(Chmod::parse("644").unwrap().for_made_directories(), 0o644);
        assert_eq!(Chmod::parse("u=rwX").unwrap().for_made_directories(), 0o755);
    }
}
