//! The socket by which a step talks to an ssh agent.
//!
//! It is the builder's own and belongs to whom the mount says; what comes in is passed on. The agent's socket
//! itself would not do: it is closed to the step's user, and agents answer nobody but their own user.

use std::fs::{self, File};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Takes connections until it is dropped; those that were made live as long as both ends want.
pub(super) struct AgentSocket {
    path: PathBuf,
    /// The same path, short enough for a socket's address wherever the directory is.
    short: PathBuf,
    _directory: File,
    closing: Arc<AtomicBool>,
}

/// Whom a socket belongs to, and what others may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// User.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Permission bits.
    pub(super) mode: u32,
}

const NAME: &str = "agent";

impl AgentSocket {
    /// A socket in `directory`, which nobody else can enter, for the agent that listens at `agent`.
    pub(super) fn open(directory: &Path, agent: &Path, access: Access) -> io::Result<Self> {
        let opened = File::open(directory)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()));
        let listener = UnixListener::bind(&short)?;
        let path = directory.join(NAME);
        chown(&path, Some(access.uid), Some(access.gid))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(access.mode))?;
        let closing = Arc::new(AtomicBool::new(false));
        let (closed, agent) = (Arc::clone(&closing), agent.to_owned());
        thread::Builder::new().name("ssh agent".to_owned()).spawn(move || {
            for step in listener.incoming() {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                // An agent that is gone is for the step's program to tell of: its connection ends at once.
                if let Ok(step) = step
                    && let Ok(agent) = UnixStream::connect(&agent)
                {
                    // Without threads left the connection ends as well.
                    let _ = join(step, agent);
                }
            }
        })?;
        Ok(Self { path, short, _directory: opened, closing })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // Wakes the thread; where that fails it ends with the process.
        let _ = UnixStream::connect(&self.short);
        let _ = fs::remove_file(&self.path);
    }
}

/// Pass everything on between two streams, in threads that end when the streams do.
fn join(step: UnixStream, agent: UnixStream) -> io::Result<()> {
    for (from, to) in [(step.try_clone()?, agent.try_clone()?), (agent, step)] {
        let (mut from, mut to) = (from, to);
        thread::Builder::new().spawn(move || {
            // The end of one side, however it comes, is the end of what the other hears.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_step_talks_to_the_agent_through_a_socket_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let agent = place.path().join("real");
        let listener = UnixListener::bind(&agent).unwrap();
        let answering = thread::spawn(move || {
            let mut question = String::new();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_string(&mut question).unwrap();
            stream.write_all(format!("{question}!").as_bytes()).unwrap();
        });
        let deep = place.path().join("a-long-name-".repeat(12));
        fs::create_dir(&deep).unwrap();
        let me = fs::metadata(&deep).unwrap();
        let access = Access { uid: me.uid(), gid: me.gid(), mode: 0o640 };
        let socket = AgentSocket::open(&deep, &agent, access).unwrap();
        assert_eq!(fs::metadata(socket.path()).unwrap().mode() & 0o7777, 0o640);
        let mut stream = UnixStream::connect(&socket.short).unwrap();
        stream.write_all(b"keys?").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "keys?!");
        answering.join().unwrap();
        // The agent is gone: the connection ends.
        fs::remove_file(&agent).unwrap();
        let mut stream = UnixStream::connect(&socket.short).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        let path = socket.path().to_owned();
        drop(socket);
        assert!(!path.exists());
    }
}
