//! Users and groups of an image: `/etc/passwd` and `/etc/group` as text.

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Login name.
    pub(crate) name: String,
    /// User ID.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// Home directory.
    pub(crate) home: String,
}

/// A line of `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Name.
    pub(crate) name: String,
    /// Group ID.
    pub(crate) gid: u32,
    /// Names of the members.
    pub(crate) members: Vec<String>,
}

/// The users and groups of an image. Lines that do not parse are passed over, as libc does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// In file order: the first of a name or id decides.
    pub(crate) users: Vec<User>,
    /// In file order.
    pub(crate) groups: Vec<Group>,
}

/// Longest line that is read, in bytes; a longer one is passed over.
const LINE_LIMIT: usize = 64 << 10;

impl Users {
    /// Parse the two files.
    pub(crate) fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let users = lines(passwd)
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
                let uid = fields.nth(1)?.trim().parse().ok()?;
                let gid = fields.next()?.trim().parse().ok()?;
                let home = fields.nth(1).unwrap_or_default().to_owned();
                Some(User { name, uid, gid, home })
            })
            .collect();
        let groups = lines(group)
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
                let gid = fields.nth(1)?.trim().parse().ok()?;
                let members = fields.next().unwrap_or_default();
                let members = members.split(',').map(str::trim).filter(|m| !m.is_empty()).map(str::to_owned);
                Some(Group { name, gid, members: members.collect() })
            })
            .collect();
        Self { users, groups }
    }

    /// The user of this name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The user of this id.
    pub(crate) fn user_by_id(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    /// The group of this name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The ids of the groups that list `name` as a member, in file order.
    pub(crate) fn supplementary(&self, name: &str) -> Vec<u32> {
        self.groups
            .iter()
            .filter(|group| group.members.iter().any(|m| m == name))
            .map(|group| group.gid)
            .collect()
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| line.len() <= LINE_LIMIT)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ids_homes_and_members_are_read_and_bad_lines_passed_over() {
        let users = Users::parse(
            b"root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1:1::/:\nweb:x:33:44::/srv:/bin/false\nbig:x:4294967296:0::/:\n",
            b"root:x:0:\nstaff:x:50:web,root\nwww:x:44:\n",
        );
        assert_eq!(users.users.len(), 2);
        assert_eq!(users.user("web").unwrap().home, "/srv");
        assert_eq!(users.user_by_id(33).unwrap().gid, 44);
        assert_eq!(users.supplementary("web"), [50]);
        assert_eq!(users.group("www").unwrap().gid, 44);
    }
}
