//! Entering namespaces when the program starts, so that everything it mounts is its own.
//!
//! As root: a private mount namespace. No mount of ours can be seen from outside, and none is left when we
//! are killed, because it ends with the last process in it.
//!
//! As somebody else: a user namespace, in which that user is root, with the ids that `/etc/subuid` and
//! `/etc/subgid` grant mapped in. The process that the user started stays the one that works: only the two
//! set-user-ID programs that write the map are run by a child, forked before, because they must stand
//! outside of the namespace.
//!
//! To be done before the first thread: a user namespace is entered by a whole process.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitOptions, getegid, geteuid, getpid, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::subid::{map_arguments, ranges};
use crate::sys::{Forked, exit_now, fork, make_private, unshare};
use crate::tree::Users;

/// What was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entered {
    /// A mount namespace; the ids are the caller's.
    MountNamespace,
    /// A user namespace and a mount namespace.
    UserNamespace {
        /// How many user ids are mapped; with 1, files and processes can only belong to root.
        users: u64,
        /// How many group ids are mapped.
        groups: u64,
        /// Why it is only one of either, and what would mend it.
        limits: Vec<String>,
    },
}

impl fmt::Display for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountNamespace => write!(f, "root, own mount namespace"),
            Self::UserNamespace { users, groups, limits } => {
                write!(f, "user namespace with {users} user and {groups} group ids")?;
                limits.iter().try_for_each(|limit| write!(f, "; {limit}"))
            }
        }
    }
}

/// Why no namespace could be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// Not even root may.
    #[error("make a mount namespace: {reason}")]
    MountNamespace {
        /// What the system answered.
        reason: String,
    },
    /// No user namespace, or one without rights.
    #[error("{what}: {reason}; {mend}")]
    UserNamespace {
        /// What was being done.
        what: String,
        /// What the system answered.
        reason: String,
        /// What would make it work.
        mend: String,
    },
    /// Something that works everywhere did not.
    #[error("enter namespaces: {what}: {reason}")]
    Other {
        /// What was being done.
        what: String,
        /// What the system answered.
        reason: String,
    },
}

/// Enter what this process may. Afterwards it is root (user id 0) in its own eyes, its mounts are private,
/// and it may mount.
pub fn enter() -> Result<Entered, EnterError> {
    let has = rustix::thread::capabilities(None).map_err(|e| other("ask for capabilities", e))?.effective;
    if has.contains(CapabilitySet::SYS_ADMIN) {
        unshare(UnshareFlags::NEWNS)
            .and_then(|()| make_private())
            .map_err(|error| EnterError::MountNamespace { reason: error.to_string() })?;
        return Ok(Entered::MountNamespace);
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let plan = if has.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        // Root of a container: it may hand on every id that it has.
        [Map::Same, Map::Same]
    } else {
        let name = user_name(uid);
        Kind::BOTH.map(|kind| kind.plan(uid, if kind == Kind::User { uid } else { gid }, name.as_deref()))
    };

    let (mut ours, theirs) = UnixStream::pair().map_err(|e| other("make a socket", e))?;
    let builder = getpid();
    let mapper = match fork().map_err(|e| other("fork", e))? {
        Forked::Child => {
            drop(ours);
            exit_now(map_from_outside(builder, &plan, theirs));
        }
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let entered = unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
    if entered.is_ok() {
        // A mapper that is gone shows below.
        let _ = ours.write_all(b"!");
    }
    // The mapper ends when it has done its work or sees that there is none.
    let _ = ours.shutdown(std::net::Shutdown::Write);
    let mut answers = String::new();
    let told = ours.read_to_string(&mut answers);
    let _ = waitpid(Some(mapper), WaitOptions::empty());
    entered.map_err(|error| no_user_namespace("make a user namespace", &error))?;
    told.map_err(|e| other("wait for the id maps", e))?;

    let mut limits = Vec::new();
    let mut counts = [0, 0];
    for ((kind, map), (count, own)) in Kind::BOTH.iter().zip(plan).zip(counts.iter_mut().zip([uid, gid])) {
        let failed = match map {
            Map::Single(why) => Some(why),
            _ => answers
                .lines()
                .find_map(|line| line.strip_prefix(kind.name()))
                .map(|why| format!("only one {} id is mapped:{why}", kind.name())),
        };
        if let Some(why) = failed {
            limits.push(why);
            kind.map_own(own)?;
        }
        *count = kind.mapped()?;
    }
    make_private().map_err(|error| no_user_namespace("mount in the user namespace", &error))?;
    let [users, groups] = counts;
    Ok(Entered::UserNamespace { users, groups, limits })
}

/// User ids or group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Group,
}

/// How ids of one kind are mapped.
#[derive(Clone, Debug)]
enum Map {
    /// By a set-user-ID program, with these arguments after the process id.
    Program(PathBuf, Vec<String>),
    /// Every id that we have, as itself.
    Same,
    /// Only our own; why.
    Single(String),
}

impl Kind {
    const BOTH: [Self; 2] = [Self::User, Self::Group];

    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        }
    }

    fn map_file(self) -> &'static str {
        match self {
            Self::User => "uid_map",
            Self::Group => "gid_map",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::User => "newuidmap",
            Self::Group => "newgidmap",
        }
    }

    /// Both files are kept by user, not by group.
    fn plan(self, uid: u32, own: u32, name: Option<&str>) -> Map {
        let kind = self.name();
        let text = std::fs::read(self.file()).unwrap_or_default();
        let ranges = ranges(&String::from_utf8_lossy(&text), name, uid);
        if ranges.is_empty() {
            let user = name.map_or_else(|| uid.to_string(), str::to_owned);
            return Map::Single(format!(
                "only one {kind} id is mapped: {} has no line for {user} (add: {user}:100000:65536)",
                self.file()
            ));
        }
        match super::programs::find(self.program()) {
            Some(program) => Map::Program(program, map_arguments(own, &ranges)),
            None => Map::Single(format!(
                "only one {kind} id is mapped: {} is not installed (package uidmap or shadow-utils)",
                self.program()
            )),
        }
    }

    /// Map 0 to our own id, which everybody may.
    fn map_own(self, own: u32) -> Result<(), EnterError> {
        if self == Self::Group {
            // The kernel's condition for mapping a group without rights: no group may be given up.
            write("/proc/self/setgroups", "deny")?;
        }
        write(&format!("/proc/self/{}", self.map_file()), &format!("0 {own} 1"))
    }

    /// How many ids are mapped now.
    fn mapped(self) -> Result<u64, EnterError> {
        let path = format!("/proc/self/{}", self.map_file());
        let map = std::fs::read_to_string(&path).map_err(|e| other(&format!("read {path}"), e))?;
        Ok(map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()).sum())
    }
}

fn write(path: &str, text: &str) -> Result<(), EnterError> {
    std::fs::write(path, text).map_err(|e| other(&format!("write {path}"), e))
}

/// The child's part: wait for the word, write the maps, tell what failed (a line `user …` or `group …`).
fn map_from_outside(builder: Pid, plan: &[Map; 2], mut socket: UnixStream) -> i32 {
    let mut word = [0_u8];
    let Ok(1) = socket.read(&mut word) else { return 0 };
    let mut status = 0;
    for (kind, map) in Kind::BOTH.iter().zip(plan) {
        let failed = match map {
            Map::Program(program, arguments) => run_map_program(program, builder, arguments),
            Map::Same => hand_on(*kind, builder),
            Map::Single(_) => Ok(()),
        };
        if let Err(reason) = failed {
            let reason = reason.replace('\n', " ");
            status = i32::from(writeln!(socket, "{} {reason}", kind.name()).is_err());
        }
    }
    status
}

fn run_map_program(program: &Path, builder: Pid, arguments: &[String]) -> Result<(), String> {
    let output = Command::new(program)
        .arg(builder.as_raw_nonzero().to_string())
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let hint = match rustix::thread::no_new_privs() {
        Ok(true) => {
            " (no_new_privs is set, so set-user-ID programs have no effect: allowPrivilegeEscalation)"
        }
        _ => "",
    };
    Err(format!("{} failed: {said}{hint}", program.display()))
}

/// Map every id that we have to itself.
fn hand_on(kind: Kind, builder: Pid) -> Result<(), String> {
    let own = std::fs::read_to_string(format!("/proc/self/{}", kind.map_file()))
        .map_err(|error| error.to_string())?;
    let map: Vec<String> = own
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (inside, count) = (fields.next()?, fields.nth(1)?);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect();
    let path = format!("/proc/{}/{}", builder.as_raw_nonzero(), kind.map_file());
    std::fs::write(&path, map.concat()).map_err(|error| format!("write {path}: {error}"))
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    Users::parse(&passwd, b"").user_by_id(uid).map(|user| user.name.clone())
}

/// The refusal together with the setting that most likely stands behind it.
fn no_user_namespace(what: &str, error: &std::io::Error) -> EnterError {
    let setting = |path: &str| std::fs::read_to_string(path).ok().map(|value| value.trim().to_owned());
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    let filtered = setting("/proc/self/status")
        .is_some_and(|status| status.lines().any(|line| line.replace('\t', "") == "Seccomp:2"));
    let mend = if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "run `sysctl -w kernel.unprivileged_userns_clone=1` as root"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "run `sysctl -w user.max_user_namespaces=15000` as root"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, or give this program an \
         AppArmor profile with `userns,`"
    } else if filtered {
        "a seccomp filter is set for this process (a container): run with one that allows unshare and mount, \
         or with CAP_SYS_ADMIN"
    } else if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) {
        "the limit on namespaces is reached: raise `sysctl user.max_user_namespaces`"
    } else {
        "run as root, or where user namespaces are allowed"
    };
    EnterError::UserNamespace { what: what.to_owned(), reason: error.to_string(), mend: mend.to_owned() }
}

fn other(what: &str, error: impl fmt::Display) -> EnterError {
    EnterError::Other { what: what.to_owned(), reason: error.to_string() }
}
