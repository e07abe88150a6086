//! `--chown`: who owns what a COPY or ADD puts.

use crate::tree::Users;

/// Owner by ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// User ID.
    pub(crate) uid: u32,
    /// Group ID.
    pub(crate) gid: u32,
}

/// `--chown=user[:group]` as written. Names are looked up in the image that is copied into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnerSpec {
    user: Who,
    group: Option<Who>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Id(u32),
    Name(String),
}

/// A `--chown` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OwnerError {
    /// Not `user[:group]`.
    #[error("invalid --chown {0:?}: expected user[:group], each a name or a number up to 4294967294")]
    Malformed(String),
    /// The image has no such user.
    #[error(
        "--chown names user {0:?}, which the image's /etc/passwd lacks: create it before, or give its number"
    )]
    UnknownUser(String),
    /// The image has no such group.
    #[error(
        "--chown names group {0:?}, which the image's /etc/group lacks: create it before, or give its number"
    )]
    UnknownGroup(String),
}

impl OwnerSpec {
    /// Parse the flag's value. As in BuildKit either side of a colon may be left out: `:group` is root's.
    pub(crate) fn parse(text: &str) -> Result<Self, OwnerError> {
        let malformed = || OwnerError::Malformed(text.to_owned());
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let group = group.filter(|group| !group.is_empty());
        let user = match user {
            "" if group.is_some() => Who::Id(0),
            user => Who::parse(user).ok_or_else(malformed)?,
        };
        let group = group.map(|group| Who::parse(group).ok_or_else(malformed)).transpose()?;
        Ok(Self { user, group })
    }

    /// Whether the image's `/etc/passwd` or `/etc/group` decides.
    pub(crate) fn needs_users(&self) -> bool {
        matches!(self.user, Who::Name(_)) || matches!(self.group, Some(Who::Name(_)))
    }

    /// The ids. A user's name alone also stands for its group, a user's number alone for the group of the same
    /// number.
    pub(crate) fn resolve(&self, users: &Users) -> Result<Owner, OwnerError> {
        let (uid, own_gid) = match &self.user {
            Who::Id(id) => (*id, *id),
            Who::Name(name) => {
                let user = users.user(name).ok_or_else(|| OwnerError::UnknownUser(name.clone()))?;
                (user.uid, user.gid)
            }
        };
        let gid = match &self.group {
            None => own_gid,
            Some(Who::Id(id)) => *id,
            Some(Who::Name(name)) => {
                users.group(name).ok_or_else(|| OwnerError::UnknownGroup(name.clone()))?.gid
            }
        };
        Ok(Owner { uid, gid })
    }
}

impl Who {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.contains([':', '/', '\n', '\0']) {
            return None;
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            // The largest number means "leave as it is" to the kernel.
            return text.parse().ok().filter(|id| *id != u32::MAX).map(Self::Id);
        }
        Some(Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_become_ids() {
        let users = Users::parse(
            b"root:x:0:0::/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n",
            b"root:x:0:\nstaff:x:50:\n",
        );
        for (text, uid, gid) in [
            ("5", 5, 5),
            ("5:6", 5, 6),
            ("web", 33, 44),
            ("web:staff", 33, 50),
            ("web:7", 33, 7),
            ("7:staff", 7, 50),
            (":staff", 0, 50),
            ("web:", 33, 44),
            ("0", 0, 0),
            ("4294967294:1", 4_294_967_294, 1),
        ] {
            assert_eq!(OwnerSpec::parse(text).unwrap().resolve(&users), Ok(Owner { uid, gid }), "{text}");
        }
    }

    #[test]
    fn unknown_names_fail_instead_of_becoming_root() {
        let resolve = |text: &str| OwnerSpec::parse(text).unwrap().resolve(&Users::default());
        assert_eq!(resolve("web"), Err(OwnerError::UnknownUser("web".into())));
        assert_eq!(resolve("0:web"), Err(OwnerError::UnknownGroup("web".into())));
    }

    #[test]
    fn what_is_no_owner_is_refused() {
        for text in ["", ":", "4294967295", "4294967296", "99999999999999999999", "a:b:c"] {
            assert!(OwnerSpec::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_names_need_the_images_users() {
        assert!(!OwnerSpec::parse("5:6").unwrap().needs_users());
        assert!(OwnerSpec::parse("5:staff").unwrap().needs_users());
    }
}
