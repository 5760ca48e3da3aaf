//! The real binary, on a real socket and a real state directory.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that goes wrong may say so in any way"
)]

use std::fs;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use faramesh_core::checkpoint::{Checkpoint, EpochKeys, KeyName, LogKey, PublicKey};
use faramesh_core::record::Epoch;
use faramesh_core::tree::{Frontier, Head};
use faramesh_proto::frame::{self, Broken, SIGNER_BYTES_MAX};
use faramesh_proto::v1::{
    Adopt, Advance, Durable, EpochKey, NextEpoch, SignerHead, SignerHello, SignerReply,
    SignerRequest, SwitchEpoch, signer_reply, signer_request,
};
use signer_request::Kind;

/// A state directory and a listening socket, which outlives the processes that are started on it.
struct World {
    dir: tempfile::TempDir,
    listener: UnixListener,
}

struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("signer.sock")).unwrap();
        World { dir, listener }
    }

    /// With a key.
    fn ready() -> (Self, LogKey) {
        let world = World::new();
        let key = world.init();
        (world, key)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn init_output(&self) -> Output {
        binary()
            .arg("init")
            .arg("--state")
            .arg(self.state())
            .args(["--stack", "shop"])
            .output()
            .unwrap()
    }

    fn init(&self) -> LogKey {
        let output = self.init_output();
        assert!(output.status.success(), "{output:?}");
        LogKey::parse(&String::from_utf8(output.stdout).unwrap()).unwrap()
    }

    fn command(&self, peer_uid: u32) -> Command {
        let mut command = binary();
        command.arg("--state").arg(self.state()).args([
            "--stack",
            "shop",
            "--peer-uid",
            &peer_uid.to_string(),
        ]);
        let listener = self.listener.as_raw_fd();
        hand_over(&mut command, listener);
        command
    }

    fn start(&self) -> Running {
        Running {
            child: self.command(uid()).spawn().unwrap(),
        }
    }

    /// Runs until it ends by itself.
    fn exits(&self) -> (Option<i32>, String) {
        let output = self.command(uid()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn connect(&self) -> Daemon {
        let stream = UnixStream::connect(self.dir.path().join("signer.sock")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Daemon(stream)
    }

    fn head_file(&self) -> String {
        fs::read_to_string(self.state().join("head")).unwrap()
    }

    fn persisted_epoch(&self) -> String {
        self.head_file().lines().nth(4).unwrap().to_owned()
    }

    /// Key files of epochs, sorted.
    fn epoch_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("epoch-")).collect();
        names.sort();
        names
    }

    fn persisted_size(&self) -> u64 {
        self.head_file().lines().nth(3).unwrap().parse().unwrap()
    }

    fn wait_until_persisted(&self, size: u64) {
        let give_up = Instant::now() + Duration::from_secs(30);
        while self.persisted_size() != size {
            assert!(
                Instant::now() < give_up,
                "persisted {}",
                self.persisted_size()
            );
            std::thread::yield_now();
        }
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faramesh-signer"));
    command.stdin(Stdio::null());
    command
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[expect(unsafe_code, reason = "descriptor 3 is given between fork and exec")]
fn hand_over(command: &mut Command, listener: i32) {
    // SAFETY: between fork and exec only async-signal-safe functions may run: dup2 and fcntl are, and nothing allocates.
    unsafe {
        command.pre_exec(move || {
            let moved = if listener == 3 {
                libc::fcntl(3, libc::F_SETFD, 0)
            } else {
                libc::dup2(listener, 3)
            };
            if moved < 0 {
                Err(std::io::Error::last_os_error())
            } else {
                Ok(())
            }
        });
    }
}

/// The daemon's end.
struct Daemon(UnixStream);

impl Daemon {
    fn ask(&mut self, kind: Kind) -> Result<signer_reply::Kind, Broken> {
        frame::write(
            &mut self.0,
            &SignerRequest { kind: Some(kind) },
            SIGNER_BYTES_MAX,
        )?;
        let reply: SignerReply = frame::read(&mut self.0, SIGNER_BYTES_MAX)?;
        Ok(reply.kind.unwrap())
    }

    fn head(&mut self, kind: Kind) -> SignerHead {
        match self.ask(kind).unwrap() {
            signer_reply::Kind::Head(head) => head,
            other => panic!("{other:?}"),
        }
    }

    fn hello(&mut self) -> SignerHead {
        self.head(Kind::Hello(SignerHello {}))
    }

    fn advance(&mut self, from_size: u64, count: u8) -> String {
        match self
            .ask(Kind::Advance(Advance {
                from_size,
                leaf_hashes: leaves(from_size, count),
            }))
            .unwrap()
        {
            signer_reply::Kind::Note(note) => note,
            other => panic!("{other:?}"),
        }
    }

    fn next_epoch(&mut self) -> EpochKey {
        match self.ask(Kind::NextEpoch(NextEpoch {})).unwrap() {
            signer_reply::Kind::EpochKey(key) => key,
            other => panic!("{other:?}"),
        }
    }

    fn durable(&mut self, size: u64) -> SignerHead {
        self.head(Kind::Durable(Durable { size }))
    }

    fn refusal(&mut self, kind: Kind) -> String {
        match self.ask(kind).unwrap() {
            signer_reply::Kind::Refusal(refusal) => refusal.message,
            other => panic!("{other:?}"),
        }
    }
}

fn switch_to(key: &EpochKey) -> Kind {
    Kind::SwitchEpoch(SwitchEpoch {
        number: key.number,
        public_key: key.public_key.clone(),
    })
}

/// What a note is due to be signed by from that epoch on.
fn keys_of(pinned: &LogKey, epoch: &EpochKey) -> EpochKeys {
    let name = KeyName::epoch(pinned.name(), epoch.number).unwrap();
    let bytes: [u8; 32] = epoch.public_key.clone().try_into().unwrap();
    let key = PublicKey::new(name, &bytes).unwrap().vkey();
    let number = epoch.number;
    EpochKeys::after(pinned, Some(&Epoch { number, key })).unwrap()
}

fn leaves(from: u64, count: u8) -> Vec<u8> {
    (0..count).flat_map(|n| [from as u8 + n; 32]).collect()
}

fn head_of(count: u8) -> Head {
    let mut frontier = Frontier::new();
    for leaf in leaves(0, count).as_chunks::<32>().0 {
        frontier.push(*leaf).unwrap();
    }
    Head {
        size: frontier.size(),
        root: frontier.root(),
    }
}

#[test]
fn a_batch_is_signed_confirmed_and_persisted_and_the_next_start_knows_it() {
    let (world, key) = World::ready();
    let running = world.start();
    let mut daemon = world.connect();
    let head = daemon.hello();
    assert_eq!((head.size, head.origin.as_str()), (0, key.name().as_str()));
    assert_eq!(head.public_key, key.origin().as_bytes());
    let epoch = head.epoch.unwrap();
    assert_eq!(
        (epoch.number, epoch.public_key.as_slice()),
        (1, key.genesis().as_bytes().as_slice())
    );
    let note = daemon.advance(0, 3);
    assert_eq!(
        EpochKeys::begin(&key).open(note.as_bytes()).unwrap().head,
        head_of(3)
    );
    assert_eq!(daemon.durable(3).size, 3);
    world.wait_until_persisted(3);
    drop(running);
    let _again = world.start();
    let head = world.connect().hello();
    assert_eq!((head.size, head.root), (3, head_of(3).root.to_vec()));
}

#[test]
fn a_clean_stop_persists_the_confirmed_head() {
    let (world, _) = World::ready();
    let mut running = world.start();
    let mut daemon = world.connect();
    daemon.advance(0, 2);
    daemon.durable(2);
    let pid = rustix::process::Pid::from_raw(running.child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(running.child.wait().unwrap().success());
    assert_eq!(world.persisted_size(), 2);
}

#[test]
fn a_killed_signer_never_knows_more_than_was_confirmed() {
    let (world, _) = World::ready();
    for round in 0..3u64 {
        let running = world.start();
        let mut daemon = world.connect();
        let size = daemon.hello().size;
        assert!(size <= round * 2);
        daemon.advance(size, 2);
        daemon.durable(size + 2);
        daemon.advance(size + 2, 1);
        drop(running);
        assert!(world.persisted_size() <= size + 2);
    }
}

#[test]
fn an_unconfirmed_head_goes_with_its_connection_and_comes_back_by_its_own_note() {
    let (world, key) = World::ready();
    let _running = world.start();
    let mut first = world.connect();
    let note = first.advance(0, 3);
    let mut second = world.connect();
    assert_eq!(second.hello().size, 0);
    let mut end = Vec::new();
    first.0.read_to_end(&mut end).unwrap();
    assert!(end.is_empty(), "the superseded connection is closed");
    assert!(
        second
            .refusal(Kind::Durable(Durable { size: 3 }))
            .contains("waiting to be confirmed")
    );
    let forged = forge(&key, head_of(3));
    let adopt = |note: &str, count| {
        Kind::Adopt(Adopt {
            note: note.into(),
            from_size: 0,
            leaf_hashes: leaves(0, count),
        })
    };
    assert!(
        second
            .refusal(adopt(&forged, 3))
            .contains("is not this signer's")
    );
    assert!(
        second
            .refusal(adopt(&note, 2))
            .contains("do not lead to its tree")
    );
    assert_eq!(second.head(adopt(&note, 3)).size, 3);
    world.wait_until_persisted(3);
}

/// A note in the signer's name by another key.
fn forge(key: &LogKey, head: Head) -> String {
    let forger = SigningKey::from_bytes(&[6; 32]);
    let other = PublicKey::new(key.name().clone(), forger.verifying_key().as_bytes()).unwrap();
    let checkpoint = Checkpoint {
        origin: key.name().clone(),
        head,
    };
    other
        .seal(&checkpoint, |text| forger.sign(text).to_bytes())
        .unwrap()
}

#[test]
fn only_an_extension_of_the_confirmed_head_is_signed() {
    let (world, _) = World::ready();
    let _running = world.start();
    let mut daemon = world.connect();
    daemon.advance(0, 3);
    let advance = |from_size, leaf_hashes| {
        Kind::Advance(Advance {
            from_size,
            leaf_hashes,
        })
    };
    assert!(
        daemon
            .refusal(advance(0, leaves(0, 1)))
            .contains("not yet confirmed")
    );
    daemon.durable(3);
    assert!(
        daemon
            .refusal(advance(0, leaves(0, 1)))
            .contains("builds on 0")
    );
    assert!(
        daemon
            .refusal(advance(2, leaves(0, 1)))
            .contains("builds on 2")
    );
    assert!(
        daemon
            .refusal(advance(3, Vec::new()))
            .contains("no leaf hashes")
    );
    assert!(
        daemon
            .refusal(advance(3, vec![0; 31]))
            .contains("32 bytes each")
    );
    assert_eq!(daemon.hello().size, 3);
}

#[test]
fn a_peer_of_another_user_is_closed_without_an_answer_and_disturbs_nobody() {
    let (world, _) = World::ready();
    let running = Running {
        child: world.command(uid() + 1).spawn().unwrap(),
    };
    assert!(matches!(
        world.connect().ask(Kind::Hello(SignerHello {})),
        Err(Broken::Closed | Broken::Io(_))
    ));
    drop(running);
}

#[test]
fn messages_that_are_too_long_or_nonsense_close_the_connection_and_the_next_one_is_served() {
    use std::io::Write as _;
    let (world, _) = World::ready();
    let _running = world.start();
    for bad in [
        &[0xff, 0xff, 0xff, 0xff, 0][..],
        &[0, 0, 0, 2, 0xff, 0xff],
        &[0, 0, 0, 4, 0x0a, 2, 8, 1],
    ] {
        let mut daemon = world.connect();
        daemon.0.write_all(bad).unwrap();
        let mut rest = Vec::new();
        let _closed = daemon.0.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    // A whole advance of the largest size is no nonsense.
    let mut daemon = world.connect();
    let many = vec![7; 131_000 * 32];
    assert!(matches!(
        daemon
            .ask(Kind::Advance(Advance {
                from_size: 0,
                leaf_hashes: many
            }))
            .unwrap(),
        signer_reply::Kind::Note(_)
    ));
}

#[test]
fn a_damaged_state_is_refused_with_65_and_what_to_do() {
    let (world, _) = World::ready();
    {
        let _running = world.start();
        let mut daemon = world.connect();
        daemon.advance(0, 3);
        daemon.durable(3);
        world.wait_until_persisted(3);
    }
    let good = world.head_file();
    let path = world.state().join("head");
    for bit in (0..good.len() * 8).step_by(41) {
        let mut bad = good.clone().into_bytes();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        let (code, message) = world.exits();
        assert_eq!(code, Some(65), "bit {bit}: {message}");
        assert!(
            message.contains("damaged") && message.contains("restore it"),
            "{message}"
        );
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(world.exits().0, Some(65));
    fs::write(&path, &good).unwrap();
    fs::write(world.state().join("log.key"), [1; 31]).unwrap();
    assert_eq!(world.exits().0, Some(65));
    fs::remove_file(world.state().join("log.key")).unwrap();
    assert_eq!(world.exits().0, Some(65));
    assert_eq!(
        world.init_output().status.code(),
        Some(65),
        "init makes no new key beside a head"
    );
}

#[test]
fn init_makes_a_private_key_once_and_an_interrupted_init_is_finished() {
    let world = World::new();
    assert_eq!(world.exits().0, Some(69), "no state yet");
    let key = world.init();
    assert_eq!(world.init(), key);
    for (name, mode) in [
        ("", 0o700),
        ("log.key", 0o600),
        ("epoch-1.key", 0o600),
        ("head", 0o600),
    ] {
        assert_eq!(
            fs::metadata(world.state().join(name)).unwrap().mode() & 0o7777,
            mode,
            "{name}"
        );
    }
    // What is written last is missing: nothing was signed under what is there.
    fs::remove_file(world.state().join("log.pub")).unwrap();
    assert_eq!(world.exits().0, Some(78));
    assert_ne!(world.init(), key);
}

#[test]
fn a_state_without_epochs_is_refused_and_left_as_it_is() {
    let world = World::new();
    fs::create_dir(world.state()).unwrap();
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let head = "faramesh signer head v1\nfaramesh/shop/00000000\n0\n\n";
    fs::write(world.state().join("head"), head).unwrap();
    fs::write(world.state().join("log.key"), [7; 32]).unwrap();
    let (code, message) = world.exits();
    assert_eq!(code, Some(78), "{message}");
    assert!(message.contains("init anew"), "{message}");
    assert_eq!(world.init_output().status.code(), Some(78));
    assert_eq!(fs::read(world.state().join("log.key")).unwrap(), [7; 32]);
}

#[test]
fn an_epoch_begins_with_the_key_that_was_asked_for_and_the_one_before_is_erased() {
    let (world, pinned) = World::ready();
    let running = world.start();
    let mut daemon = world.connect();
    let old = daemon.advance(0, 3);
    let next = daemon.next_epoch();
    assert_eq!(next.number, 2);
    assert_eq!(daemon.next_epoch(), next, "asked again, it is the same");
    assert_eq!(world.epoch_files(), ["epoch-1.key", "epoch-2.key"]);
    assert!(
        daemon
            .refusal(switch_to(&next))
            .contains("not yet confirmed")
    );
    daemon.durable(3);
    for (number, why) in [(1, "epoch 1 is"), (3, "epoch 1 is"), (2, "not the one")] {
        let wrong = EpochKey {
            number,
            public_key: vec![1; 32],
        };
        let said = daemon.refusal(switch_to(&wrong));
        assert!(said.contains(why), "{said}");
    }
    let head = daemon.head(switch_to(&next));
    assert_eq!((head.size, head.epoch.as_ref()), (3, Some(&next)));
    assert_eq!(world.epoch_files(), ["epoch-2.key"]);
    assert_eq!(
        (world.persisted_size(), world.persisted_epoch().as_str()),
        (3, "epoch 2")
    );
    assert!(daemon.refusal(switch_to(&next)).contains("epoch 2 is"));
    let new = daemon.advance(3, 1);
    let (before, after) = (EpochKeys::begin(&pinned), keys_of(&pinned, &next));
    assert_eq!(before.open(old.as_bytes()).unwrap().epoch(), 1);
    assert_eq!(after.open(new.as_bytes()).unwrap().epoch(), 2);
    assert!(before.open(new.as_bytes()).is_err());
    drop(running);
    let _again = world.start();
    assert_eq!(world.connect().hello().epoch, Some(next));
    assert_eq!(world.init(), pinned, "what is pinned never changes");
}

#[test]
fn a_signer_killed_at_any_step_of_a_switch_goes_on_from_what_is_on_its_disk() {
    let (world, pinned) = World::ready();
    let running = world.start();
    let mut daemon = world.connect();
    daemon.advance(0, 3);
    daemon.durable(3);
    world.wait_until_persisted(3);
    let next = daemon.next_epoch();
    drop(running);
    let first_key = fs::read(world.state().join("epoch-1.key")).unwrap();

    // Killed while the next key was being written: its name has nothing yet, and another key is made.
    fs::rename(
        world.state().join("epoch-2.key"),
        world.state().join("epoch-2.key.new"),
    )
    .unwrap();
    let running = world.start();
    let mut daemon = world.connect();
    assert_eq!(daemon.hello().epoch.unwrap().number, 1);
    assert_eq!(world.epoch_files(), ["epoch-1.key"]);
    let next_after = daemon.next_epoch();
    assert_ne!(next_after, next);
    drop(running);

    // Killed after the key was made: it is still the same, and the epoch has not begun.
    let running = world.start();
    let mut daemon = world.connect();
    assert_eq!(daemon.hello().epoch.unwrap().number, 1);
    assert_eq!(daemon.next_epoch(), next_after);
    drop(running);

    // Killed before the switch was persisted: the daemon says it again, by what its journal says.
    let running = world.start();
    let mut daemon = world.connect();
    daemon.head(switch_to(&next_after));
    drop(running);

    // Killed between the persisted head and the erasing: the start erases.
    fs::write(world.state().join("epoch-1.key"), &first_key).unwrap();
    fs::set_permissions(
        world.state().join("epoch-1.key"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let _running = world.start();
    let mut daemon = world.connect();
    let head = daemon.hello();
    assert_eq!((head.size, head.epoch), (3, Some(next_after.clone())));
    assert_eq!(world.epoch_files(), ["epoch-2.key"]);
    let note = daemon.advance(3, 1);
    keys_of(&pinned, &next_after).open(note.as_bytes()).unwrap();
}

#[test]
fn a_signer_killed_by_signal_in_the_middle_of_switches_starts_again_each_time() {
    let (world, _) = World::ready();
    let mut size = 0;
    for round in 0..12u64 {
        let mut running = world.start();
        let mut daemon = world.connect();
        let head = daemon.hello();
        assert!(head.size <= size && head.size + 2 > size, "{head:?} {size}");
        let epoch = head.epoch.unwrap().number;
        size = head.size;
        daemon.advance(size, 1);
        daemon.durable(size + 1);
        size += 1;
        let next = daemon.next_epoch();
        assert_eq!(next.number, epoch + 1);
        // The answer is not waited for: the kill comes anywhere in the switch.
        let request = SignerRequest {
            kind: Some(switch_to(&next)),
        };
        frame::write(&mut daemon.0, &request, SIGNER_BYTES_MAX).unwrap();
        for _ in 0..round * 40 {
            std::thread::yield_now();
        }
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        let files = world.epoch_files();
        assert!(!files.is_empty() && files.len() <= 2, "{files:?}");
    }
}

#[test]
fn a_key_of_an_epoch_that_is_missing_or_too_far_is_damage() {
    let (world, _) = World::ready();
    let at = |name: &str| world.state().join(name);
    fs::copy(at("epoch-1.key"), at("epoch-3.key")).unwrap();
    assert_eq!(world.exits().0, Some(65));
    fs::remove_file(at("epoch-3.key")).unwrap();
    fs::copy(at("log.key"), at("epoch-1.key")).unwrap();
    assert_eq!(world.exits().0, Some(65), "not the key that is pinned");
    fs::remove_file(at("epoch-1.key")).unwrap();
    assert_eq!(world.exits().0, Some(65));
}

#[test]
fn a_state_that_others_can_open_is_refused_with_77() {
    let (world, _) = World::ready();
    for name in ["", "log.key", "epoch-1.key"] {
        let path = world.state().join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let (code, message) = world.exits();
        assert_eq!(code, Some(77), "{message}");
        fs::set_permissions(&path, before).unwrap();
    }
}

#[test]
fn a_second_signer_on_the_same_state_is_refused() {
    let (world, _) = World::ready();
    let _running = world.start();
    world.connect().hello();
    let (code, message) = world.exits();
    assert_eq!(code, Some(69), "{message}");
    assert!(message.contains("in use"), "{message}");
}

#[test]
fn without_a_listening_socket_it_says_so() {
    let (world, _) = World::ready();
    let run = |prepare: &dyn Fn(&mut Command)| {
        let mut command = binary();
        command
            .arg("--state")
            .arg(world.state())
            .args(["--stack", "shop", "--peer-uid", "0"]);
        prepare(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let file = fs::File::open("/dev/null").unwrap();
    assert!(run(&|command| hand_over(command, file.as_raw_fd())).contains("descriptor 3"));
    let (stream, _other) = UnixStream::pair().unwrap();
    assert!(run(&|command| hand_over(command, stream.as_raw_fd())).contains("listen"));
    let usage = binary().arg("--nonsense").output().unwrap();
    assert_eq!(usage.status.code(), Some(64));
}

#[test]
fn the_running_signer_has_given_up_privileges_and_has_a_filter() {
    let (world, _) = World::ready();
    let running = world.start();
    world.connect().hello();
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Threads:\t1"] {
        assert!(status.contains(line), "{line} not in {status}");
    }
}

#[test]
fn systemd_is_told_when_it_is_ready() {
    let (world, _) = World::ready();
    let path = world.dir.path().join("notify.sock");
    let notify = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    notify
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut command = world.command(uid());
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000");
    let _running = Running {
        child: command.spawn().unwrap(),
    };
    let mut said = [0; 64];
    let mut hear = || {
        let count = notify.recv(&mut said).unwrap();
        String::from_utf8(said[..count].to_vec()).unwrap()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!(
        (hear().as_str(), hear().as_str()),
        ("WATCHDOG=1", "WATCHDOG=1")
    );
}
