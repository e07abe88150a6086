//! The `ocistage` program: the order in which a process may do things.

mod cli;

use std::process::ExitCode;
use std::time::Duration;

use ocistage::{CancellationToken, Entered};

/// How long work that cannot be interrupted may hold up the end.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // 1. A RUN step's first process is this program, started again: it comes before arguments, hooks and threads.
    if let Some(status) = ocistage::init_if_asked() {
        return ExitCode::from(u8::try_from(status).unwrap_or(1));
    }

    let cancel = CancellationToken::new();
    cli::watch(&cancel);
    cli::guard(move || {
        // 2. What is wanted; files and standard input are read while there is one thread.
        match cli::prepare(std::env::args_os()) {
            Ok(job) => run(job, cancel),
            Err(done) => done,
        }
    })
}

fn run(mut job: cli::Job, cancel: CancellationToken) -> ExitCode {
    // 3. Namespaces can be entered only while there is one thread, and only a build with a RUN needs them.
    if job.build().is_some_and(cli::runs_commands) {
        // It matters only when a RUN must be carried out; then it is part of the answer.
        match ocistage::enter() {
            Ok(Entered::UserNamespace { limits, .. }) if !limits.is_empty() => {
                job.note_isolation(limits.join("; "));
            }
            Ok(_) => {}
            Err(error) => job.note_isolation(error.to_string()),
        }
    }

    // 4. Threads.
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::cannot_start(&error),
    };
    let code = runtime.block_on(cli::carry_out(job, cancel));
    runtime.shutdown_timeout(GRACE);
    code
}
