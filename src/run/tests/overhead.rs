//! What a step costs beyond its command. Run by hand: `cargo test --lib overhead -- --ignored --nocapture`.

use std::io::Write;
use std::time::{Duration, Instant};

use super::rig::{Rig, native, runc};
use crate::run::RunStatus;

const STEPS: usize = 50;

#[test]
#[ignore = "a measurement"]
fn overhead() {
    for (name, backend) in [("native", native()), ("runc", runc())]
        .into_iter()
        .filter(|(name, _)| std::env::var("ONLY").map_or(true, |only| only == *name))
    {
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
