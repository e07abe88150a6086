//! The lines that a log holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ocistage::oci::Digest;
use ocistage::{MissReason, StageId};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written for `events`, with the times of output lines replaced by `T`.
fn written(terminal: bool, events: &[Event]) -> String {
    let sink = Sink::default();
    let plain = Plain::new(Box::new(sink.clone()), terminal);
    for event in events {
        plain.event(event);
    }
    plain.close();
    let text = String::from_utf8_lossy(&sink.0.lock().unwrap()).into_owned();
    let time = |word: &str| word.len() == 5 && word.as_bytes()[1] == b'.' && word.parse::<f64>().is_ok();
    let lines = text.lines().map(|line| {
        line.split(' ').map(|word| if time(word) { "T" } else { word }).collect::<Vec<_>>().join(" ")
    });
    lines.map(|line| line + "\n").collect()
}

fn step(index: usize) -> StepId {
    StepId { stage: StageId(0), index }
}

fn started(index: usize, name: &str) -> Event {
    Event::StepStarted { step: step(index), name: name.to_owned(), reason: MissReason::NotRecorded }
}

fn output(index: usize, text: &[u8]) -> Event {
    Event::StepOutput { step: step(index), stream: OutputStream::Stdout, bytes: text.to_vec() }
}

fn finished(index: usize, layer: Option<u64>) -> Event {
    Event::StepFinished { step: step(index), elapsed: Duration::from_millis(240), layer }
}

#[test]
fn steps_of_two_stages_keep_their_numbers_and_whole_lines() {
    let text = written(
        false,
        &[
            started(1, "[a 1/2] RUN x"),
            started(2, "[b 1/1] RUN y"),
            output(1, b"hal"),
            output(2, b"other\n"),
            output(1, b"f\nrest"),
            finished(1, Some(3_100_000)),
            finished(2, None),
        ],
    );
    assert_eq!(
        text,
        "\n#1 [a 1/2] RUN x\n#1 miss: no record has this step with these inputs\n\
         \n#2 [b 1/1] RUN y\n#2 miss: no record has this step with these inputs\n\
         #2 T other\n#1 T half\n#1 T rest\n#1 layer 3.1 MB\n#1 DONE 0.2s\n#2 DONE 0.2s\n"
    );
}

#[test]
fn a_cached_step_has_two_lines() {
    let cached = Event::StepCached { step: step(0), name: "[1/1] COPY . .".to_owned() };
    assert_eq!(written(false, &[cached]), "\n#1 [1/1] COPY . .\n#1 CACHED\n");
}

#[test]
fn a_terminal_is_not_steered_by_output_but_a_log_is_left_alone() {
    let events = [started(0, "x\x1b[2J"), output(0, b"\x1b[31mr\x1b[2J\n"), finished(0, None)];
    let terminal = written(true, &events);
    assert!(terminal.contains("#1 x\\x1b[2J\n"), "{terminal:?}");
    assert!(terminal.contains("\x1b[31mr\\x1b[2J\x1b[0m\n"), "{terminal:?}");
    assert!(written(false, &events).contains("\x1b[31mr\x1b[2J\n"));
}

#[test]
fn a_step_that_was_stopped_is_said_to_be() {
    let text = written(false, &[started(0, "x"), output(0, b"part")]);
    assert!(text.ends_with("#1 T part\n#1 CANCELED\n"), "{text}");
}

#[test]
fn transfers_are_summed_up_by_repository() {
    let blob = |size, how| Event::BlobPushed {
        repository: "r.io/app".to_owned(),
        digest: Digest::of(b""),
        size,
        how,
    };
    let text = written(
        false,
        &[blob(10, Transfer::Present), blob(5_000_000, Transfer::Mounted), blob(20, Transfer::Uploaded)],
    );
    assert_eq!(
        text,
        "\n#1 [registry] push to r.io/app\n#1 mounted sha256:e3b0c44298fc 5.0 MB\n\
         #1 DONE 20 B pushed (1), 5.0 MB mounted (1), 10 B already there (1)\n"
    );
}

#[test]
fn output_without_line_ends_does_not_pile_up() {
    let piece = output(0, &[b'x'; LINE_LIMIT + 1]);
    let text = written(false, &[started(0, "x"), piece, finished(0, None)]);
    assert!(text.lines().all(|line| line.len() < LINE_LIMIT + 20));
}
