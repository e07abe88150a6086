//! Measures ocistage beside buildah, in the same run, on the same registry, in turns.
//!
//! `just bench [FILTER]` runs the scenarios whose name has FILTER in it (all without one) and prints one table; it is kept
//! under `target/bench/`. Walls are minimum and median; CPU is user and system time of the command and its children, and
//! memory the largest resident set among them, both from the kernel through GNU time. Requests and bytes come from the
//! registry's own log. Needs root, docker-registry, buildah, runc and GNU time.
#![allow(clippy::unwrap_used)]

#[path = "../suite/support/server.rs"]
mod server;

use server::Server;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs of each command; the order alternates so that a slow minute falls on both.
const RUNS: usize = 3;
const FILES: usize = 20_000;
/// About 150 MB in all.
const FILE_BYTES: usize = 7_500;

/// One command's run.
#[derive(Clone, Copy, Default)]
struct Measured {
    wall: f64,
    cpu: f64,
    rss_mb: f64,
    requests: usize,
    uploads: usize,
    down: u64,
}

struct Bench {
    folder: tempfile::TempDir,
    kept: PathBuf,
    server: Server,
    rows: String,
    count: usize,
}

/// What a scenario runs: the name of a tool and its commands, the state of before already wiped.
type Runner<'a> = (&'a str, Box<dyn Fn(&mut Bench, usize) -> Measured + 'a>);

impl Bench {
    fn new() -> Self {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&kept).unwrap();
        let folder = tempfile::Builder::new().prefix("ocistage-bench-").tempdir().unwrap();
        let server = Server::start(folder.path(), "");
        let rows = String::new();
        let mut bench = Self { folder, kept, server, rows, count: 0 };
        bench.bases();
        bench
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.server.address())
    }

    /// `base/busybox:1`, and `base/large:1` with a layer of 100 MB besides.
    fn bases(&mut self) {
        let context = self.folder.path().join("base");
        let bin = context.join("root/bin");
        for folder in ["root/etc", "root/tmp", "root/proc", "root/sys", "root/dev", "root/bin"] {
            fs::create_dir_all(context.join(folder)).unwrap();
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.expect("busybox-static is installed"), bin.join("busybox")).unwrap();
        for applet in ["sh", "true", "cat", "ls", "touch"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        fs::write(context.join("root/etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
        fs::write(context.join("root/etc/group"), "root:x:0:\n").unwrap();
        noise(&context.join("large"), 100 << 20);
        for (tag, more) in [("base/busybox:1", ""), ("base/large:1", "COPY large /large\n")] {
            let dockerfile = format!("FROM scratch\nCOPY root/ /\nENV PATH=/bin\nCMD [\"sh\"]\n{more}");
            self.push(&context, &dockerfile, tag, &[]);
        }
    }

    /// Writes a Dockerfile beside the contexts and returns its path.
    fn dockerfile(&mut self, text: &str) -> PathBuf {
        self.count += 1;
        let path = self.folder.path().join(format!("Dockerfile.{}", self.count));
        fs::write(&path, text).unwrap();
        path
    }

    /// `ocistage push` with a state folder of its own, wiped after.
    fn push(&mut self, context: &Path, dockerfile: &str, tag: &str, flags: &[&str]) -> Measured {
        let (file, state) = (self.dockerfile(dockerfile), self.folder.path().join("state"));
        let mut command = vec![env!("CARGO_BIN_EXE_ocistage"), "push", "--progress", "quiet", "--state-dir"];
        let (state_text, tag) = (state.to_str().unwrap(), self.at(tag));
        command.extend([state_text, "-f", file.to_str().unwrap(), "-t", &tag]);
        command.extend(flags);
        command.push(context.to_str().unwrap());
        let measured = self.measure(&[&command]);
        let _ = fs::remove_dir_all(&state);
        measured
    }

    /// `buildah build` and `buildah push` with a store of its own, wiped after.
    fn buildah(&mut self, context: &Path, dockerfile: &str, tag: &str, flags: &[&str]) -> Measured {
        let (file, store) = (self.dockerfile(dockerfile), self.folder.path().join("store"));
        let (root, run) = (store.join("root"), store.join("run"));
        let global = [
            "buildah",
            "--root",
            root.to_str().unwrap(),
            "--runroot",
            run.to_str().unwrap(),
            "--storage-driver",
            "overlay",
        ];
        let tag = self.at(tag);
        let mut build = global.to_vec();
        build.extend(["build", "--quiet", "--tls-verify=false", "--runtime", "runc", "--network", "host"]);
        build.extend(["-f", file.to_str().unwrap(), "-t", &tag]);
        build.extend(flags);
        build.push(context.to_str().unwrap());
        let destination = format!("docker://{tag}");
        let push = [&global[..], &["push", "--quiet", "--tls-verify=false", &tag, &destination]].concat();
        let measured = self.measure(&[&build, &push]);
        let _ = Command::new("umount").arg(root.join("overlay")).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&store);
        measured
    }

    /// Runs the commands one after the other and adds up what they took.
    fn measure(&mut self, commands: &[&[&str]]) -> Measured {
        let log = self.folder.path().join("access.log");
        let before = fs::read_to_string(&log).unwrap().lines().count();
        let mut total = Measured::default();
        for command in commands {
            let (times, output) = (self.folder.path().join("times"), self.folder.path().join("output"));
            let out = File::create(&output).unwrap();
            let status = Command::new("/usr/bin/time")
                .args(["-f", "%e %U %S %M", "-o"])
                .arg(&times)
                .args(*command)
                .env("no_proxy", "127.0.0.1")
                .stdin(Stdio::null())
                .stdout(out.try_clone().unwrap())
                .stderr(out)
                .status()
                .expect("start GNU time");
            assert!(status.success(), "{}\n{}", command.join(" "), fs::read_to_string(&output).unwrap());
            let text = fs::read_to_string(&times).unwrap();
            let values: Vec<f64> =
                text.lines().last().unwrap().split(' ').map(|word| word.parse().unwrap()).collect();
            total.wall += values[0];
            total.cpu += values[1] + values[2];
            total.rss_mb = total.rss_mb.max(values[3] / 1024.0);
        }
        for line in
            fs::read_to_string(&log).unwrap().lines().skip(before).filter(|line| line.contains(" /v2/"))
        {
            total.requests += 1;
            total.uploads += usize::from(line.contains("/blobs/uploads/"));
            if line.contains("\"GET ") && line.contains("/blobs/") {
                let answer = line.split('"').nth(2).unwrap_or("");
                total.down +=
                    answer.split_whitespace().nth(1).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
            }
        }
        total
    }

    /// Runs all tools of a scenario in turns and writes a row for each.
    fn compare(&mut self, scenario: &str, runs: usize, tools: &[Runner<'_>]) {
        let mut measured = vec![Vec::new(); tools.len()];
        for run in 0..runs {
            for (number, (_, tool)) in tools.iter().enumerate() {
                measured[number].push(tool(self, run));
            }
        }
        for ((name, _), runs) in tools.iter().zip(&measured) {
            self.row(scenario, name, runs);
        }
    }

    fn row(&mut self, scenario: &str, tool: &str, runs: &[Measured]) {
        let sorted = |value: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (wall, cpu) = (sorted(|run| run.wall), sorted(|run| run.cpu));
        let rss = sorted(|run| run.rss_mb).last().copied().unwrap_or(0.0);
        let last = runs.last().unwrap();
        let line = format!(
            "| {scenario} | {tool} | {:.2} | {:.2} | {:.2} | {rss:.0} | {} | {} | {:.1} |",
            wall[0],
            wall[wall.len() / 2],
            cpu[cpu.len() / 2],
            last.requests,
            last.uploads,
            last.down as f64 / 1e6
        );
        say(&line);
        writeln!(self.rows, "{line}").unwrap();
    }

    /// 20,000 files in 400 folders, about 150 MB; made once.
    fn many_files(&self) -> PathBuf {
        let folder = self.kept.join("files");
        if !folder.join("399").exists() {
            let mut text = Text(1);
            for number in 0..FILES {
                let inside = folder.join((number / 50).to_string());
                fs::create_dir_all(&inside).unwrap();
                fs::write(inside.join(number.to_string()), text.bytes(FILE_BYTES)).unwrap();
            }
        }
        folder
    }
}

/// Words in a random order: repeatable, and about as compressible as source text.
struct Text(u64);

impl Text {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut text = String::new();
        while text.len() < size {
            let number = self.next();
            let word = ["let", "return", "match", "value", "{", "}"][number as usize % 6];
            let _ = writeln!(text, "{word} {:x}", number >> 40);
        }
        text.truncate(size);
        text.into_bytes()
    }
}

/// A file that does not compress.
fn noise(path: &Path, size: usize) {
    let mut random = Text(7);
    let mut file = std::io::BufWriter::new(File::create(path).unwrap());
    for _ in 0..size / 8 {
        file.write_all(&random.next().to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// Six steps over the context, or as many as given, each of its own folder.
fn steps(base: &str, count: usize) -> String {
    let mut text = format!("FROM {base}\nENV A=1\nWORKDIR /app\nCOPY . /app/all\n");
    for step in 0..count - 4 {
        writeln!(text, "COPY {step} /app/step-{step}").unwrap();
    }
    text + "RUN true\n"
}

fn no_op(bench: &mut Bench, count: usize) {
    let context = bench.many_files();
    let dockerfile = steps(&bench.at("base/busybox:1"), count);
    let (ours, theirs) = (format!("noop{count}/ours:1"), format!("noop{count}/theirs:1"));
    let cache = bench.at(&format!("noop{count}/theirs/cache"));
    let flags = ["--layers", "--cache-from", &cache, "--cache-to", &cache];
    bench.push(&context, &dockerfile, &ours, &[]);
    let name = format!("no-op rebuild and push, state wiped, {count} steps, {FILES} files");
    let ocistage: Runner<'_> =
        ("ocistage", Box::new(|bench, _| bench.push(&context, &dockerfile, &ours, &[])));
    if count > 6 {
        // buildah takes seconds for each step: only our own growth with the steps is shown.
        return bench.compare(&name, RUNS, &[ocistage]);
    }
    bench.buildah(&context, &dockerfile, &theirs, &flags);
    let buildah: Runner<'_> =
        ("buildah", Box::new(|bench, _| bench.buildah(&context, &dockerfile, &theirs, &flags)));
    bench.compare(&name, RUNS, &[ocistage, buildah]);
}

/// Milliseconds a step: the difference of 21 steps and 1, so that pulling and pushing do not count.
fn run_true(bench: &mut Bench) {
    let context = bench.folder.path().join("empty");
    fs::create_dir_all(&context).unwrap();
    let base = bench.at("base/busybox:1");
    let dockerfile = |count: usize| format!("FROM {base}\n{}", "RUN true\n".repeat(count));
    let (one, many) = (dockerfile(1), dockerfile(21));
    let ours = |bench: &mut Bench, text: &str| {
        bench.push(&context, text, "run/ours:1", &["--no-cache", "--backend", "native"])
    };
    let theirs = |bench: &mut Bench, text: &str| {
        bench.buildah(&context, text, "run/theirs:1", &["--no-cache", "--layers"])
    };
    let per_step = |one: Measured, many: Measured| Measured {
        wall: (many.wall - one.wall) / 20.0 * 1000.0,
        cpu: (many.cpu - one.cpu) / 20.0 * 1000.0,
        ..many
    };
    let tools: [Runner<'_>; 2] = [
        ("ocistage", Box::new(|bench, _| per_step(ours(bench, &one), ours(bench, &many)))),
        ("buildah", Box::new(|bench, _| per_step(theirs(bench, &one), theirs(bench, &many)))),
    ];
    bench.compare("RUN true, milliseconds a step", RUNS, &tools);
}

fn copy_many(bench: &mut Bench) {
    let context = bench.many_files();
    let dockerfile = format!("FROM {}\nCOPY . /all\n", bench.at("base/busybox:1"));
    let tools: [Runner<'_>; 2] = [
        (
            "ocistage",
            Box::new(|bench, run| {
                bench.push(&context, &dockerfile, &format!("copy{run}/ours:1"), &["--no-cache"])
            }),
        ),
        (
            "buildah",
            Box::new(|bench, run| {
                bench.buildah(&context, &dockerfile, &format!("copy{run}/theirs:1"), &["--no-cache"])
            }),
        ),
    ];
    bench.compare(&format!("COPY {FILES} files, 150 MB, and push"), RUNS, &tools);
}

fn copy_large(bench: &mut Bench) {
    let context = bench.folder.path().join("huge");
    fs::create_dir_all(&context).unwrap();
    let mut text = Text(3);
    let block = text.bytes(1 << 20);
    let mut file = File::create(context.join("huge")).unwrap();
    for _ in 0..2048 {
        file.write_all(&block).unwrap();
    }
    drop(file);
    let dockerfile = "FROM scratch\nCOPY huge /huge\n";
    let tools: [Runner<'_>; 1] =
        [("ocistage", Box::new(|bench, _| bench.push(&context, dockerfile, "huge/ours:1", &["--no-cache"])))];
    bench.compare("COPY one file of 2 GiB and push", 1, &tools);
}

fn no_run(bench: &mut Bench) {
    let context = bench.folder.path().join("one");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("file"), "x").unwrap();
    let dockerfile = format!("FROM {}\nENV A=1\nCOPY file /file\nLABEL b=2\n", bench.at("base/large:1"));
    let tools: [Runner<'_>; 2] = [
        (
            "ocistage",
            Box::new(|bench, run| {
                bench.push(&context, &dockerfile, &format!("norun{run}/ours:1"), &["--no-cache"])
            }),
        ),
        (
            "buildah",
            Box::new(|bench, run| {
                bench.buildah(&context, &dockerfile, &format!("norun{run}/theirs:1"), &["--no-cache"])
            }),
        ),
    ];
    bench.compare("no RUN, base of 100 MB in the same registry", RUNS, &tools);
}

type Scenario = fn(&mut Bench);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Only `cargo bench` passes this: other commands that build all targets must not start hours of work.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return say("run by: just bench [FILTER]");
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let scenarios: [(&str, Scenario); 6] = [
        ("no-op-6", |bench| no_op(bench, 6)),
        ("no-op-200", |bench| no_op(bench, 200)),
        ("run-true", run_true),
        ("copy-many", copy_many),
        ("copy-large", copy_large),
        ("no-run", no_run),
    ];
    let mut bench = Bench::new();
    let head = "| scenario | tool | wall min, s | wall median, s | CPU, s | peak RSS, MB | requests | uploads | MB down |\n\
                |---|---|---|---|---|---|---|---|---|";
    say(head);
    for (_, scenario) in scenarios.iter().filter(|(name, _)| name.contains(&filter)) {
        scenario(&mut bench);
    }
    let table = format!("{head}\n{}", bench.rows);
    fs::write(bench.kept.join("results.md"), table).unwrap();
}
