//! USER, looked up in the image.
//!
//! As docker does: `name` and `uid` take the group and the supplementary groups that the image's files give
//! them; with `:group` there are no supplementary groups; a number without a line in the file has group 0.

use super::request::Report;
use crate::rootfs::Inside;
use crate::tree::Users;

/// Who a command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// User id.
    pub(super) uid: u32,
    /// Group id.
    pub(super) gid: u32,
    /// Supplementary groups, in the order of the image's file.
    pub(super) groups: Vec<u32>,
    /// The home directory; `/` for a user without a line in the file.
    pub(super) home: String,
}

/// Longest /etc/passwd or /etc/group that is read, in bytes. As BuildKit.
const FILE_LIMIT: u64 = 10 << 20;

/// Look up `user` in the files of `inside`.
pub(super) fn identity(user: &str, inside: &Inside) -> Result<Identity, Report> {
    let refused = |reason: String| Report::User { user: user.to_owned(), reason };
    let read = |path: &str| match inside.read(path.as_bytes(), FILE_LIMIT) {
        Ok(bytes) => Ok(bytes.unwrap_or_default()),
        Err(rustix::io::Errno::INVAL) => Err(refused(format!("{path} in the image is not a regular file"))),
        Err(rustix::io::Errno::FBIG) => Err(refused(format!("{path} in the image is longer than 10 MiB"))),
        Err(error) => Err(refused(format!("{path} in the image: {error}"))),
    };
    let users = Users::parse(&read("/etc/passwd")?, &read("/etc/group")?);
    find(user, &users).map_err(refused)
}

fn find(user: &str, users: &Users) -> Result<Identity, String> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = number(name)?;
    // In file order, a name being as good as a number: a user may be called 1000.
    let line = users.users.iter().find(|line| line.name == name || Some(line.uid) == number);
    let (uid, gid, home) = match (line, number) {
        (Some(line), _) => (line.uid, line.gid, line.home.clone()),
        (None, Some(uid)) => (uid, 0, String::new()),
        (None, None) => return Err("not in the image's /etc/passwd".to_owned()),
    };
    let (gid, groups) = match group {
        Some(group) => (find_group(group, users)?, Vec::new()),
        None => (gid, line.map(|line| users.supplementary(&line.name)).unwrap_or_default()),
    };
    let home = if home.is_empty() { "/".to_owned() } else { home };
    Ok(Identity { uid, gid, groups, home })
}

fn find_group(group: &str, users: &Users) -> Result<u32, String> {
    let number = number(group)?;
    let line = users.groups.iter().find(|line| line.name == group || Some(line.gid) == number);
    line.map(|line| line.gid)
        .or(number)
        .ok_or_else(|| format!("group {group:?} is not in the image's /etc/group"))
}

/// An id in figures; `None` for a name. Ids that do not fit 31 bits are refused, as docker does: they would
/// be taken for others, or for "no id".
fn number(text: &str) -> Result<Option<u32>, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number <= 0x7fff_ffff => Ok(Some(number)),
        _ => Err(format!("id {text} is not between 0 and 2147483647")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::parse(
            b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/false\n1500:x:7:8::/odd:\nbare:x:9:9:::\n",
            b"root:x:0:\nbin:x:1:root\nstaff:x:50:web\nwww:x:44:\nextra:x:51:web,root\n",
        )
    }

    fn found(user: &str) -> (u32, u32, Vec<u32>, String) {
        let Identity { uid, gid, groups, home } = find(user, &users()).unwrap();
        (uid, gid, groups, home)
    }

    #[test]
    fn each_form_of_user_means_what_it_means_to_docker() {
        assert_eq!(found(""), (0, 0, vec![1, 51], "/root".into()));
        assert_eq!(found("web"), (33, 44, vec![50, 51], "/srv".into()));
        assert_eq!(found("33"), (33, 44, vec![50, 51], "/srv".into()));
        assert_eq!(found("web:staff"), (33, 50, vec![], "/srv".into()));
        assert_eq!(found("web:"), (33, 44, vec![50, 51], "/srv".into()));
        assert_eq!(found("1000"), (1000, 0, vec![], "/".into()));
        assert_eq!(found("1000:1000"), (1000, 1000, vec![], "/".into()));
        assert_eq!(found(":50"), (0, 50, vec![], "/root".into()));
        assert_eq!(found("1500"), (7, 8, vec![], "/odd".into()));
        assert_eq!(found("bare").3, "/");
    }

    #[test]
    fn unknown_names_and_impossible_ids_are_refused() {
        for user in
            ["nobody", "web:nogroup", "root\n", "-1", "4294967296", "2147483648", "0:4294967295", "w b"]
        {
            assert!(find(user, &users()).is_err(), "{user:?}");
        }
    }
}
