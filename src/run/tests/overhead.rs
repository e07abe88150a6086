//! What a step costs beyond its command. A measurement, made when asked for:
//! `OCISTAGE_MEASURE=native,runc,crun cargo test --release --lib overhead -- --nocapture`.

use std::io::Write;
use std::time::{Duration, Instant};

use super::rig::{Rig, crun, native, runc};
use crate::run::RunStatus;

const STEPS: usize = 50;

#[test]
fn overhead() {
    let asked = std::env::var("OCISTAGE_MEASURE").unwrap_or_default();
    for (name, backend) in [("native", native as fn() -> _), ("runc", runc), ("crun", crun)] {
        if !asked.split(',').any(|asked| asked == name) {
            continue;
        }
        let backend = backend();
        let Ok(backend) = backend else { continue };
        let mut rig = Rig::new(backend);
        rig.args(&["true"]);
        let mut walls: Vec<Duration> = Vec::new();
        let before = cpu();
        for _ in 0..STEPS {
            let start = Instant::now();
            assert_eq!(rig.run().unwrap().status, RunStatus::Exited(0));
            walls.push(start.elapsed());
            std::fs::remove_dir_all(rig.path("upper")).unwrap();
            std::fs::create_dir(rig.path("upper")).unwrap();
        }
        let cpu = (cpu() - before) / STEPS as f64;
        walls.sort();
        let _ = writeln!(
            std::io::stderr(),
            "{name}: wall min {:?} median {:?}; cpu {cpu:.2} ms a step",
            walls[0],
            walls[STEPS / 2]
        );
    }
}

/// Milliseconds of processor time of this process and its ended children.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 * 10.0
}
