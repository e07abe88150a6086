//! One JSON object a line, for programs.
//!
//! Each line says what happened in `event` and its own fields; where BuildKit's `--progress=rawjson` has a place for it
//! (`vertexes`, `logs`, `statuses`, `warnings`), the line has that too, so that readers of BuildKit's stream read ours.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocistage::oci::Digest;
use ocistage::text::{Diagnostic, Source};
use ocistage::{Error, Event, EventSink, OutputStream, StepId, Transfer};
use serde_json::{Map, Value, json};

use super::text;
use super::{Renderer, Summary};
use crate::cli::exit;

/// Writes objects.
pub(crate) struct RawJson(Mutex<State>);

struct State {
    out: Box<dyn Write + Send>,
    /// Steps that run: name and time of beginning.
    running: BTreeMap<StepId, (String, String)>,
}

impl RawJson {
    /// Writes to `out`.
    pub(crate) fn new(out: Box<dyn Write + Send>) -> RawJson {
        RawJson(Mutex::new(State { out, running: BTreeMap::new() }))
    }

    fn write(&self, make: impl FnOnce(&mut State, String) -> Value) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = make(&mut state, text::now());
        if value.is_object() {
            let _ = writeln!(state.out, "{value}");
            let _ = state.out.flush();
        }
    }
}

impl EventSink for RawJson {
    fn event(&self, event: &Event) {
        self.write(|state, now| state.object(event, &now));
    }
}

impl Renderer for RawJson {
    fn close(&self) {}

    fn summary(&self, summary: &Summary) {
        self.write(|_, now| {
            let moved = |blobs: super::tally::Blobs| json!({"number": blobs.number, "bytes": blobs.bytes});
            json!({
                "event": "done",
                "timestamp": now,
                "digest": summary.digest,
                "platform": summary.platform.as_ref().map(ToString::to_string),
                "names": summary.names,
                "cached": summary.steps.map(|(cached, _)| cached),
                "executed": summary.steps.map(|(_, executed)| executed),
                "pushed": moved(summary.moved.uploaded),
                "mounted": moved(summary.moved.mounted),
                "present": moved(summary.moved.present),
                "pulled": moved(summary.moved.pulled),
                "seconds": summary.elapsed.as_secs_f64(),
            })
        });
    }

    fn error(&self, error: &Error, step: Option<&str>) {
        self.write(|_, now| {
            let source = error.source_text();
            let findings = error.diagnostics().iter().map(|diagnostic| finding(diagnostic, source));
            json!({
                "event": "error",
                "timestamp": now,
                "message": error.to_string(),
                "status": exit::status(error.kind()),
                "step": step,
                "diagnostics": findings.collect::<Vec<_>>(),
                "output": String::from_utf8_lossy(error.output()),
                "hints": error.hints(),
            })
        });
    }
}

/// The place, code and words of a finding.
fn finding(diagnostic: &Diagnostic, source: Option<&Source>) -> Value {
    let place = diagnostic.span().zip(source).map(|(span, source)| source.position(span.start));
    json!({
        "severity": diagnostic.severity.as_str(),
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": source.map(Source::name),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "help": diagnostic.help,
    })
}

/// What BuildKit's readers tell vertices by: any digest that is the same each time.
fn vertex(key: &str) -> Digest {
    Digest::of(key.as_bytes())
}

fn step_vertex(step: StepId) -> Digest {
    vertex(&format!("step {step}"))
}

impl State {
    fn object(&mut self, event: &Event, now: &str) -> Value {
        let (word, mut fields) = self.fields(event, now);
        if word.is_empty() {
            return Value::Null;
        }
        let mut object = Map::new();
        object.insert("event".to_owned(), json!(word));
        object.insert("timestamp".to_owned(), json!(now));
        if let Some(fields) = fields.as_object_mut() {
            object.append(fields);
        }
        Value::Object(object)
    }

    fn fields(&mut self, event: &Event, now: &str) -> (&'static str, Value) {
        match event {
            Event::Resolved { reference, digest } => {
                let name = format!("[base] {reference}");
                ("resolved", with(json!({"reference": reference, "digest": digest}), done(&name, now, false)))
            }
            Event::ContextScanned { name, files, bytes } => {
                let vertex = done(&text::context(name), now, false);
                ("context-scanned", with(json!({"name": name, "files": files, "bytes": bytes}), vertex))
            }
            Event::Fetched { source, identity, size } => {
                let vertex = done(&format!("[fetch] {source}"), now, false);
                ("fetched", with(json!({"source": source, "identity": identity, "bytes": size}), vertex))
            }
            Event::IsolationChosen { backend, reason } => {
                ("isolation-chosen", json!({"backend": backend, "reason": reason}))
            }
            Event::Planned { steps, skipped } => ("planned", json!({"steps": steps, "skipped": skipped})),
            Event::BuildCached { digest } => {
                ("build-cached", with(json!({"digest": digest}), done("[build]", now, true)))
            }
            Event::StageCached { stage } => {
                let vertex = done(&format!("[stage {stage}]"), now, true);
                ("stage-cached", with(json!({"stage": stage}), vertex))
            }
            Event::StepCached { step, name } => {
                let vertex = json!([{
                    "digest": step_vertex(*step), "name": name, "started": now, "completed": now, "cached": true,
                }]);
                ("step-cached", json!({"step": step.to_string(), "name": name, "vertexes": vertex}))
            }
            Event::StepStarted { step, name, reason } => {
                self.running.insert(*step, (name.clone(), now.to_owned()));
                let vertex = json!([{"digest": step_vertex(*step), "name": name, "started": now}]);
                let reason = text::miss(reason);
                (
                    "step-started",
                    json!({
                        "step": step.to_string(), "name": name, "reason": reason, "vertexes": vertex,
                    }),
                )
            }
            Event::StepOutput { step, stream, bytes } => {
                let number = match stream {
                    OutputStream::Stdout => 1,
                    OutputStream::Stderr => 2,
                };
                let log = json!([{
                    "vertex": step_vertex(*step),
                    "stream": number,
                    "data": STANDARD.encode(bytes),
                    "timestamp": now,
                }]);
                ("step-output", json!({"step": step.to_string(), "logs": log}))
            }
            Event::StepFinished { step, elapsed, layer } => {
                let vertex = self.ended(*step, now, None);
                let step = step.to_string();
                let fields = json!({"step": step, "seconds": elapsed.as_secs_f64(), "layer": layer});
                ("step-finished", with(fields, vertex))
            }
            Event::StepFailed { step, elapsed } => {
                let vertex = self.ended(*step, now, Some("failed"));
                let fields = json!({"step": step.to_string(), "seconds": elapsed.as_secs_f64()});
                ("step-failed", with(fields, vertex))
            }
            Event::BlobPushed { repository, digest, size, how } => {
                let how = match how {
                    Transfer::Present => "present",
                    Transfer::Mounted => "mounted",
                    Transfer::Uploaded => "uploaded",
                };
                let name = format!("[registry] push to {repository}");
                let status = status(&name, &format!("{how} {digest}"), *size, now);
                let fields = json!({"repository": repository, "digest": digest, "size": size, "how": how});
                ("blob-pushed", with(fields, status))
            }
            Event::BlobPulled { repository, digest, size } => {
                let name = format!("[registry] pull from {repository}");
                let status = status(&name, &format!("pulled {digest}"), *size, now);
                (
                    "blob-pulled",
                    with(json!({"repository": repository, "digest": digest, "size": size}), status),
                )
            }
            Event::Tagged { name, digest } => ("tagged", json!({"name": name, "digest": digest})),
            Event::Warning { message } => {
                let warning =
                    json!([{"vertex": vertex("[build]"), "level": 1, "short": STANDARD.encode(message)}]);
                ("warning", json!({"message": message, "warnings": warning}))
            }
            _ => ("", Value::Null),
        }
    }

    /// The vertex of a step that ended.
    fn ended(&mut self, step: StepId, now: &str, error: Option<&str>) -> Value {
        let (name, started) = self.running.remove(&step).unwrap_or_default();
        let mut vertex = json!({
            "digest": step_vertex(step), "name": name, "started": started, "completed": now,
        });
        if let Some(error) = error {
            vertex["error"] = json!(error);
        }
        json!({"vertexes": [vertex]})
    }
}

/// A vertex that is known when it is over.
fn done(name: &str, now: &str, cached: bool) -> Value {
    let mut done = json!({"digest": vertex(name), "name": name, "started": now, "completed": now});
    if cached {
        done["cached"] = json!(true);
    }
    json!({"vertexes": [done]})
}

/// The state of a blob, with the vertex that it belongs to.
fn status(name: &str, id: &str, size: u64, now: &str) -> Value {
    let digest = vertex(name);
    let status = json!({
        "id": id, "vertex": digest, "current": size, "total": size, "timestamp": now,
        "started": now, "completed": now,
    });
    let vertex = json!({"digest": digest, "name": name, "started": now, "completed": now});
    json!({"vertexes": [vertex], "statuses": [status]})
}

/// `fields` and `more` in one object.
fn with(mut fields: Value, mut more: Value) -> Value {
    if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object_mut()) {
        fields.append(more);
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

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

    fn objects(events: &[Event]) -> Vec<Value> {
        let sink = Sink::default();
        let renderer = RawJson::new(Box::new(sink.clone()));
        events.iter().for_each(|event| renderer.event(event));
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_step_s_lines_speak_of_one_vertex() {
        let step = StepId { stage: StageId(0), index: 1 };
        let objects = objects(&[
            Event::StepStarted { step, name: "[1/1] RUN x".to_owned(), reason: MissReason::NotRecorded },
            Event::StepOutput { step, stream: OutputStream::Stderr, bytes: b"hi\xff\n".to_vec() },
            Event::StepFailed { step, elapsed: Duration::from_secs(1) },
        ]);
        let vertex = &objects[0]["vertexes"][0]["digest"];
        assert_eq!(objects[0]["event"], "step-started");
        assert_eq!(objects[0]["vertexes"][0]["name"], "[1/1] RUN x");
        assert_eq!(&objects[1]["logs"][0]["vertex"], vertex);
        assert_eq!(objects[1]["logs"][0]["data"], "aGn/Cg==");
        assert_eq!(objects[1]["logs"][0]["stream"], 2);
        assert_eq!(&objects[2]["vertexes"][0]["digest"], vertex);
        assert_eq!(objects[2]["vertexes"][0]["error"], "failed");
        assert_eq!(objects[2]["vertexes"][0]["started"], objects[0]["timestamp"]);
    }

    #[test]
    fn facts_have_their_own_fields() {
        let objects = objects(&[
            Event::Planned { steps: 3, skipped: vec!["dev".to_owned()] },
            Event::Warning { message: "careful".to_owned() },
        ]);
        assert_eq!(objects[0]["event"], "planned");
        assert_eq!(objects[0]["skipped"][0], "dev");
        assert_eq!(objects[1]["message"], "careful");
    }
}
