//! What a RUN step sees and what it leaves, the same for every backend, as root and as an ordinary user.

use crate::support::{Build, Image, Registry, can_be_unprivileged, debian, have, needs_root};

#[derive(Clone, Copy)]
struct Way {
    backend: &'static str,
    unprivileged: bool,
}

impl Way {
    fn possible(self) -> bool {
        let who = if self.unprivileged { can_be_unprivileged() } else { needs_root() };
        who && (self.backend == "native" || have(&[self.backend]))
    }

    fn build(self, dockerfile: &str) -> Build {
        let build = Build::of(dockerfile).backend(self.backend);
        if self.unprivileged { build.unprivileged() } else { build }
    }

    /// Runs these instructions over the busybox base and reads the image.
    fn image(self, instructions: &str) -> Image {
        let registry = Registry::start();
        self.build(&format!("FROM {}\n{instructions}", registry.at("base/busybox:1"))).output().ok().image()
    }
}

/// Makes a test of each function for each way to run.
macro_rules! every_way {
    ($($case:ident)*) => {
        mod native { $(#[test] fn $case() { super::go(super::Way { backend: "native", unprivileged: false }, super::$case); })* }
        mod native_rootless { $(#[test] fn $case() { super::go(super::Way { backend: "native", unprivileged: true }, super::$case); })* }
        mod runc { $(#[test] fn $case() { super::go(super::Way { backend: "runc", unprivileged: false }, super::$case); })* }
        mod runc_rootless { $(#[test] fn $case() { super::go(super::Way { backend: "runc", unprivileged: true }, super::$case); })* }
    };
}

every_way! {
    users_and_groups
    environment_and_folder
    forms_of_a_command
    what_is_mounted_is_not_in_the_layer
    changes_become_the_layer
    the_sandbox
    a_failing_step
    a_background_process_ends_with_its_step
    a_real_distribution
}

fn go(way: Way, case: fn(Way)) {
    if way.possible() {
        case(way);
    }
}

fn users_and_groups(way: Way) {
    let image = way.image(
        "RUN mkdir -m 777 /seen && id > /seen/root && echo $HOME >> /seen/root\n\
         USER app\nRUN (id -u; id -g; id -G; echo $HOME; touch /tmp/mine) > /seen/app\n\
         USER app:daemon\nRUN (id -u; id -g; id -G) > /seen/group\n\
         USER 12345\nRUN (id -u; id -g; id -G) > /seen/number\n\
         USER 1000:50\nRUN (id -u; id -g; id -G) > /seen/numbers\n",
    );
    assert!(image.text("seen/root").starts_with("uid=0(root) gid=0(root)"), "{}", image.text("seen/root"));
    assert!(image.text("seen/root").ends_with("/root\n"));
    let sorted = |path: &str| {
        let text = image.text(path);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let mut groups: Vec<u32> = lines[2].split(' ').map(|group| group.parse().unwrap()).collect();
        groups.sort_unstable();
        groups.dedup();
        lines[2] = format!("{groups:?}");
        lines
    };
    assert_eq!(sorted("seen/app"), ["1000", "1000", "[44, 50, 1000]", "/home/app"]);
    assert_eq!(sorted("seen/group"), ["1000", "1", "[1]"]);
    assert_eq!(sorted("seen/number"), ["12345", "0", "[0]"]);
    assert_eq!(sorted("seen/numbers"), ["1000", "50", "[50]"]);
    assert_eq!(image.node("tmp/mine").owner, (1000, 1000));
    assert_eq!(*image.setting("User"), "1000:50");
}

fn environment_and_folder(way: Way) {
    let registry = Registry::start();
    let dockerfile = format!(
        "FROM {}\nARG GIVEN\nARG UNSET\nENV KEPT=\"two words\" GREETING=hi\nWORKDIR /work/deep\nRUN env > /env && pwd > here\n",
        registry.at("base/busybox:1")
    );
    let build = way.build(&dockerfile).build_arg("GIVEN", "given").environment("SECRET_OF_THE_HOST", "x");
    let build = build
        .environment("http_proxy", "http://proxy.invalid")
        .environment("no_proxy", "127.0.0.1,localhost");
    let image = build.output().ok().image();
    let env = image.text("env");
    for line in
        ["KEPT=two words", "GREETING=hi", "GIVEN=given", "HOME=/root", "http_proxy=http://proxy.invalid"]
    {
        assert!(env.lines().any(|have| have == line), "{line} is not in\n{env}");
    }
    assert!(env.contains("PATH=/usr/local/sbin:/usr/local/bin"), "{env}");
    assert!(!env.contains("SECRET_OF_THE_HOST") && !env.contains("UNSET="), "{env}");
    assert_eq!(image.text("work/deep/here"), "/work/deep\n");
    let kept = image.setting("Env").to_string();
    assert!(!kept.contains("GIVEN") && !kept.contains("proxy"), "{kept}");
}

fn forms_of_a_command(way: Way) {
    let image = way.image(
        "RUN [\"/bin/sh\", \"-c\", \"echo $0 $HOME > /exec\"]\n\
         RUN echo one \\\n  # a comment between\n  two > /folded\n\
         RUN <<EOF\necho first > /heredoc\necho second >> /heredoc\nEOF\n\
         RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"from awk\" > \"/script\" }\nEOF\n\
         SHELL [\"/bin/sh\", \"-eu\", \"-c\"]\nRUN echo $- > /shell\n",
    );
    assert_eq!(image.text("exec"), "/bin/sh /root\n");
    assert_eq!(image.text("folded"), "one two\n");
    assert_eq!(image.text("heredoc"), "first\nsecond\n");
    assert_eq!(image.text("script"), "from awk\n");
    assert!(image.text("shell").contains('e') && image.text("shell").contains('u'));
    assert_eq!(image.setting("Shell").to_string(), "[\"/bin/sh\",\"-eu\",\"-c\"]");
}

fn what_is_mounted_is_not_in_the_layer(way: Way) {
    let image = way.image(
        "RUN true\n\
         RUN grep -q nameserver /etc/resolv.conf || [ -e /etc/resolv.conf ]; grep -q localhost /etc/hosts && [ -c /dev/null ] && [ -d /proc/self ] && [ -d /sys/class ] && echo ok > /seen\n",
    );
    assert_eq!(image.text("seen"), "ok\n");
    for path in [
        "etc/resolv.conf",
        "etc/hosts",
        "etc/hostname",
        "dev/null",
        "dev/pts",
        "proc/self",
        "run",
        ".dockerenv",
    ] {
        assert!(!image.has(path), "{path} came into the image");
    }
    let last = image.layers.last().unwrap();
    assert_eq!(last.iter().collect::<Vec<_>>(), ["seen"], "nothing else changed");
}

fn changes_become_the_layer(way: Way) {
    let image = way.image(
        "RUN mkdir -p /d/sub && echo 1 > /d/a && echo 2 > /d/sub/b && echo gone > /d/gone && echo x > /kept\n\
         RUN rm /d/gone && rm -r /d/sub && mkdir /d/sub && echo new > /d/sub/c && chown 1000:50 /d/a && chmod 4751 /d/a \
         && ln /d/a /d/hard && ln -s a /d/soft && mkfifo /d/pipe && rm /home/app -r\n\
         RUN echo more >> /kept\n",
    );
    assert!(!image.has("d/gone") && !image.has("d/sub/b") && !image.has("home/app"));
    assert_eq!(image.text("d/sub/c"), "new\n");
    assert_eq!((image.node("d/a").owner, image.node("d/a").mode), ((1000, 50), 0o4751));
    assert_eq!(image.node("d/hard"), image.node("d/a"));
    assert_eq!(image.node("d/soft").link, "a");
    assert_eq!(image.node("d/pipe").kind, tar::EntryType::Fifo);
    assert_eq!(image.text("kept"), "x\nmore\n");
    let last = image.layers.last().unwrap();
    assert_eq!(last.iter().collect::<Vec<_>>(), ["kept"], "a layer holds what its step changed");
    assert_eq!(image.node("tmp").mode, 0o1777);
}

fn the_sandbox(way: Way) {
    let registry = Registry::start();
    let dockerfile = format!(
        "FROM {}\nRUN wget -q -O /network http://{}/v2/ && grep Cap /proc/self/status > /caps; \
         ls -d /proc/[0-9]* | wc -l > /processes; (echo x > /proc/sysrq-trigger || echo refused) > /sysrq 2>/dev/null; \
         cat > /stdin; mount -t tmpfs none /tmp 2> /dev/null || echo refused > /mount\n",
        registry.at("base/busybox:1"),
        registry.past("").trim_end_matches('/')
    );
    let image = way.build(&dockerfile).output().ok().image();
    assert_eq!(image.text("network"), "{}", "the network of the host");
    let caps = image.text("caps");
    for line in caps.lines().filter(|line| line.starts_with("CapEff") || line.starts_with("CapBnd")) {
        let held = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        assert_eq!(held & !0xa804_25fb, 0, "more than the OCI runtimes give: {line}");
        assert_eq!(
            held & 0xfb,
            0xfb,
            "owners, modes, users and signals are what installing software needs: {line}"
        );
    }
    assert!(image.text("processes").trim().parse::<u32>().unwrap() < 10, "processes of the host are seen");
    assert_eq!(image.text("sysrq"), "refused\n");
    assert_eq!(image.text("mount"), "refused\n");
    assert_eq!(image.text("stdin"), "", "standard input is empty");
}

fn a_failing_step(way: Way) {
    let registry = Registry::start();
    let dockerfile = format!(
        "FROM {}\nRUN true\nRUN echo last words; echo on stderr >&2; exit 7\nRUN true\n",
        registry.at("base/busybox:1")
    );
    let failed = way.build(&dockerfile).output().exits(1);
    failed.says(&["last words", "on stderr", "exit status 7", "Dockerfile:3"]);
    assert!(!failed.layout().join("index.json").exists(), "no image of a failed build");
}

fn a_background_process_ends_with_its_step(way: Way) {
    let image = way.image("RUN (sleep 600; echo late > /late) & echo started > /early\n");
    assert!(image.has("early") && !image.has("late"));
}

fn a_real_distribution(way: Way) {
    let Some(layout) = debian() else { return };
    let registry = Registry::start();
    registry.add(&layout, "latest", "debian:1");
    let dockerfile = format!(
        "FROM {}\nRUN dpkg-query -W dpkg > /seen && groupadd -g 700 made && useradd -m -u 700 -g made made\n\
         USER made\nRUN id -un > ~/me && rm -f ~/.bashrc\n",
        registry.at("debian:1")
    );
    let image = way.build(&dockerfile).output().ok().image();
    assert!(image.text("seen").starts_with("dpkg\t"));
    assert_eq!(image.text("home/made/me"), "made\n");
    assert_eq!(image.node("home/made/me").owner, (700, 700));
    assert!(!image.has("home/made/.bashrc") && image.has("home/made/.profile"));
    assert_eq!(image.node("usr/bin/passwd").mode & 0o7000, 0o4000, "setuid bits of the base stay");
}

#[test]
fn an_unknown_user_is_named() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let dockerfile = format!("FROM {}\nUSER nobody-here\nRUN true\n", registry.at("base/busybox:1"));
    Build::of(&dockerfile).output().exits(1).says(&["nobody-here"]);
}

#[test]
fn a_later_stage_uses_what_a_user_left_in_an_earlier_one() {
    if !needs_root() {
        return;
    }
    let registry = Registry::start();
    let base = registry.at("base/busybox:1");
    let dockerfile = format!(
        "FROM {base} AS one\nUSER app\nRUN echo x > /tmp/x && chmod 600 /tmp/x\nFROM {base}\nCOPY --from=one /tmp/x /x\n\
         COPY --from=one --chown=daemon:staff /tmp/x /y\nRUN cat /x /y > /z\n"
    );
    let image = Build::of(&dockerfile).output().ok().image();
    assert_eq!((image.node("x").owner, image.node("x").mode), ((1000, 1000), 0o600));
    assert_eq!(image.node("y").owner, (1, 50));
    assert_eq!(image.text("z"), "x\nx\n");
}
