//! What can be typed. Nothing here does anything.
#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "faramesh",
    version,
    about = "Governs what AI agents may do: compiles policies, runs the daemon, proves what happened",
    after_help = "Example:\n  faramesh init && faramesh run -- python agent.py",
    propagate_version = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The stack: the directory that holds governance.fms
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// How results are printed; `check` also takes sarif, `policy show` yaml. JSON is stable, see docs/cli.md
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Never use colour (as does the variable NO_COLOR)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Print results, warnings and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Use the stack's development set-up even where an enforced one exists or could be made
    #[arg(long, global = true)]
    pub development: bool,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code hosts and editors: SARIF 2.1.0, of `check` only
    #[value(hide = true)]
    Sarif,
    /// The policy as YAML, of `policy show` only
    #[value(hide = true)]
    Yaml,
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first policy and a workspace
    #[command(after_help = "Example:\n  faramesh init --dir support-bot")]
    Init,
    /// Compile the policy and say what is wrong with it
    ///
    /// Exits 0 where it is valid, 1 with errors, 2 where an import cannot be reached, 3 with warnings under --strict.
    #[command(after_help = "Example:\n  faramesh check --strict governance.fms")]
    Check(CheckArgs),
    /// Write policies in the one form, comments kept
    ///
    /// Exits 1 with --check where a file is written otherwise, 65 where one does not parse; then none is written.
    #[command(after_help = "Example:\n  faramesh fmt --check")]
    Fmt(FmtArgs),
    /// Put the stack's fixtures to its policy
    ///
    /// Fixtures are tests/*.fmtest.json and .fmtest.yaml. Exits 0 where all hold, 1 where one does not, 65 where a
    /// fixture or the policy cannot be read.
    #[command(after_help = "Example:\n  faramesh test --junit report.xml")]
    Test(TestArgs),
    /// Explain a finding's number, how a recorded call was decided, or how one would be
    #[command(
        after_help = "Example:\n  faramesh explain E0103\n  faramesh explain 17",
        args_conflicts_with_subcommands = true,
        arg_required_else_help = true,
        disable_help_subcommand = true
    )]
    Explain(ExplainArgs),
    /// Show what apply would change; writes nothing
    ///
    /// Exits 2 under --fail-on-wider where a call is answered milder, or where that cannot be decided.
    #[command(after_help = "Example:\n  faramesh plan --fail-on-wider --dir support-bot")]
    Plan(PlanArgs),
    /// Compile, sign and put a policy in force
    ///
    /// As root it makes the enforced set-up (users, directories, modes), as an ordinary user a development one. A
    /// failed apply leaves the old policy deciding.
    #[command(
        after_help = "Example:\n  sudo faramesh apply --dir /srv/support-bot --name support-bot"
    )]
    Apply(ApplyArgs),
    /// Put an older policy in force again, under a new number
    ///
    /// Shows what changes and asks. The policy goes through every step of apply; a refused one leaves the old deciding.
    #[command(after_help = "Example:\n  sudo faramesh rollback --to 3 --dir /srv/support-bot")]
    Rollback(RollbackArgs),
    /// Show the policies that were applied
    #[command(
        after_help = "Example:\n  faramesh policy list",
        arg_required_else_help = true,
        disable_help_subcommand = true
    )]
    Policy(PolicyArgs),
    /// Run the daemon of a stack that was applied
    ///
    /// Under systemd it becomes farameshd. As root without systemd it stays the parent of signer and daemon.
    #[command(after_help = "Example:\n  sudo faramesh serve --dir /srv/support-bot")]
    Serve,
    /// Check, apply and serve in the foreground, in development mode
    #[command(after_help = "Example:\n  faramesh dev --dir support-bot")]
    Dev(NameArgs),
    /// Check, apply, serve and run one agent, in development mode
    ///
    /// The daemon stops when the command ends; the exit status is the command's.
    #[command(after_help = "Example:\n  faramesh run -- python agent.py")]
    Run(RunArgs),
    /// Say whether the daemon decides, and from which policy
    ///
    /// Exits 0 when READY, 1 when not running, 2 while starting, 3 while draining or degraded.
    #[command(after_help = "Example:\n  faramesh status --format json")]
    Status,
    /// Ask the daemon about one tool call
    ///
    /// In development the call is decided as the agent's own (recorded as not attested). In the enforced set-up it is
    /// a probe: nothing is performed. Exits 0 for permit, 10 for defer, 11 for deny, 12 where the daemon is not ready.
    #[command(
        after_help = "Example:\n  faramesh govern --agent support-bot --tool stripe/refund --args '{\"amount\": 80}'"
    )]
    Govern(GovernArgs),
    /// Read and prove the journal
    #[command(
        after_help = "Example:\n  faramesh audit verify --key log.pub /backup/journal",
        arg_required_else_help = true,
        disable_help_subcommand = true
    )]
    Audit(AuditArgs),
    /// Have witnesses cosign the journal's newest checkpoint, and keep the proof
    ///
    /// Reads the journal, asks each witness, appends to the anchor file, and hands the note to the daemon, which records
    /// it. Runs until it is stopped, or with --once one round. Exits 1 where a witness saw another history, 69 where too
    /// few cosigned.
    #[command(
        after_help = "Example:\n  faramesh anchor --witness unix:/run/faramesh-witness/w.sock --anchor-file /var/lib/faramesh-anchor/shop.notes"
    )]
    Anchor(AnchorArgs),
    /// Be a witness: cosign the journals of other hosts or users, and never a fork or a rollback
    #[command(
        after_help = "Example:\n  faramesh witness serve --state /var/lib/faramesh-witness --listen unix:/run/faramesh-witness/w.sock",
        arg_required_else_help = true,
        disable_help_subcommand = true
    )]
    Witness(WitnessArgs),
    /// Run the index, which answers `audit ls`, `stats` and `trace` fast
    ///
    /// It becomes faramesh-index: it follows the journal read-only, and what it makes of it is no evidence. Under systemd
    /// start faramesh-index@STACK instead.
    #[command(after_help = "Example:\n  faramesh index --dir support-bot")]
    Index(IndexArgs),
    /// Stop the daemon after it has answered what is queued
    #[command(after_help = "Example:\n  faramesh stop --dir /srv/support-bot")]
    Stop,
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  faramesh completions bash > /etc/bash_completion.d/faramesh"
    )]
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory
    #[command(after_help = "Example:\n  faramesh man /usr/local/share/man/man1")]
    Man(ManArgs),
}

/// See [`Command::Check`].
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The policy; default: governance.fms in the stack, or its .yaml, .yml or .json form
    pub file: Option<PathBuf>,
    /// Exit 3 where there are warnings
    #[arg(long)]
    pub strict: bool,
    /// The folder of packs that `import` reads; default: registry/ beside the policy
    #[arg(long, value_name = "DIR")]
    pub registry: Option<PathBuf>,
    /// Use no network; this version never does
    #[arg(long)]
    pub offline: bool,
}

/// See [`Command::Fmt`].
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// Policies; default: the stack's
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write nothing; show what would change, and exit 1 where something would
    #[arg(long)]
    pub check: bool,
    /// From standard input to standard output
    #[arg(long, conflicts_with = "files")]
    pub stdin: bool,
    /// Write no file; print one valid policy in this form instead, comments, variables and imports resolved away
    #[arg(long, value_name = "FORM", conflicts_with_all = ["check", "stdin"])]
    pub to: Option<To>,
}

/// `fmt --to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// The policy language
    Fms,
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// See [`Command::Test`].
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Fixtures; default: every one in tests/ of the stack
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// Write what is decided into the expectations that do not hold; the rest of a file stays as it is
    #[arg(long)]
    pub update: bool,
    /// Stop at the first case that does not hold
    #[arg(long, conflicts_with = "update")]
    pub fail_fast: bool,
    /// Write a report for build servers
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// See [`Command::Explain`].
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The number of a finding, or of a decision's record in the journal
    #[arg(value_name = "NUMBER|SEQ")]
    pub number: Option<String>,
    /// Every number with its title
    #[arg(long, conflicts_with = "number")]
    pub list: bool,
    /// Something else than a number.
    #[command(subcommand)]
    pub command: Option<ExplainCommand>,
}

/// What else can be explained.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Rule by rule, why a call would be decided as it would; asks no daemon
    #[command(
        after_help = "Example:\n  faramesh explain call --agent support-bot --tool stripe/refund --args '{\"amount\": 80}' --suppose time.hour=3"
    )]
    Call(ExplainCallArgs),
}

/// See [`ExplainCommand::Call`].
#[derive(Debug, Args)]
pub struct ExplainCallArgs {
    /// For which agent of the policy
    #[arg(long, value_name = "NAME", default_value = "")]
    pub agent: String,
    /// The tool, as area/name
    #[arg(long, value_name = "TOOL")]
    pub tool: String,
    /// The arguments, a JSON object: the text itself, @FILE, or - for standard input
    #[arg(
        long,
        value_name = "JSON",
        default_value = "{}",
        allow_hyphen_values = true
    )]
    pub args: String,
    /// A fact beside the arguments, as `missing` names it; again for more. `time.now` takes a moment
    #[arg(long, value_name = "FACT=VALUE")]
    pub suppose: Vec<String>,
    /// By the policy in force and not by the file
    #[arg(long)]
    pub applied: bool,
}

/// Arguments of the commands that may name a stack.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The stack's name; default: the one it has, else the directory's
    #[arg(long, value_name = "STACK")]
    pub name: Option<String>,
}

/// See [`Command::Apply`].
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The stack's name; default: the one it has, else the directory's
    #[arg(long, value_name = "STACK")]
    pub name: Option<String>,
    /// Pin these witnesses, a public key line each as in witness.pub; default: those that are pinned already
    #[arg(long, value_name = "FILE")]
    pub witnesses: Option<PathBuf>,
}

/// See [`Command::Anchor`].
#[derive(Debug, Args)]
pub struct AnchorArgs {
    /// A journal's directory; default: the stack's own. Of any other a daemon is told only with --admin
    #[arg(value_name = "JOURNAL", requires_all = ["key", "witnesses"])]
    pub journal: Option<PathBuf>,
    /// The public log key to trust; default for the stack's own journal: its pinned log.pub
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The daemon's admin socket, which is told; default for the stack's own journal: its own
    #[arg(long, value_name = "SOCKET")]
    pub admin: Option<PathBuf>,
    /// A witness: unix:/PATH or http://127.0.0.1:PORT; again for more
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub witness: Vec<String>,
    /// The witnesses' public keys; default for the stack's own journal: its pinned witnesses.pub
    #[arg(long, value_name = "FILE")]
    pub witnesses: Option<PathBuf>,
    /// How many of them have to cosign
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub quorum: usize,
    /// Append every cosigned note to this file
    #[arg(long, value_name = "FILE")]
    pub anchor_file: Option<PathBuf>,
    /// Seconds between two looks at the journal
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub every: u64,
    /// One round
    #[arg(long)]
    pub once: bool,
}

/// See [`Command::Witness`].
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Which part.
    #[command(subcommand)]
    pub command: WitnessCommand,
}

/// The parts of `witness`.
#[derive(Debug, Subcommand)]
pub enum WitnessCommand {
    /// Make a witness's key, and print its public half
    #[command(
        after_help = "Example:\n  faramesh witness init --state /var/lib/faramesh-witness --name audit.example/shop"
    )]
    Init(WitnessInitArgs),
    /// Cosign checkpoints, each only where it extends the one before
    #[command(
        after_help = "Example:\n  faramesh witness serve --state /var/lib/faramesh-witness --listen unix:/run/faramesh-witness/w.sock"
    )]
    Serve(WitnessServeArgs),
}

/// See [`WitnessCommand::Init`].
#[derive(Debug, Args)]
pub struct WitnessInitArgs {
    /// The witness's directory; made where missing
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The name that it signs under, like a host's and a path; it stays for ever
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

/// See [`WitnessCommand::Serve`].
#[derive(Debug, Args)]
pub struct WitnessServeArgs {
    /// The witness's directory
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// unix:/PATH or 127.0.0.1:PORT; nothing outside this host
    #[arg(long, value_name = "ADDRESS")]
    pub listen: String,
}

/// See [`Command::Rollback`].
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Which number; default: the one before the policy in force
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// See [`Command::Policy`].
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Which part.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// The parts of `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Every policy that was signed: its number, digest, time, signer and state
    #[command(after_help = "Example:\n  faramesh policy list --dir /srv/support-bot")]
    List,
    /// Print a stored policy, once its signature and digest are verified
    #[command(after_help = "Example:\n  faramesh policy show 3")]
    Show(ShowPolicyArgs),
}

/// See [`PolicyCommand::Show`].
#[derive(Debug, Args)]
pub struct ShowPolicyArgs {
    /// Its number, or its digest or the first eight digits of it; default: the one in force
    #[arg(value_name = "N|DIGEST")]
    pub which: Option<String>,
}

/// See [`Command::Plan`].
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The stack's name; default: the one it has, else the directory's
    #[arg(long, value_name = "STACK")]
    pub name: Option<String>,
    /// Compare with this policy: a number or digest of `policy list`, or a file; default: the one in force
    #[arg(long, value_name = "N|DIGEST|FILE")]
    pub against: Option<String>,
    /// Exit 2 where something is wider, or where that cannot be decided
    #[arg(long)]
    pub fail_on_wider: bool,
    /// Say how recorded calls since then would be decided: how long ago, or a time; `0` for not at all
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub replay: String,
}

/// See [`Command::Run`].
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The stack's name; default: the one it has, else the directory's
    #[arg(long, value_name = "STACK")]
    pub name: Option<String>,
    /// Which agent of the policy the command is; needed where it has several
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What the agent may write; default: workspace/ in the stack
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// A file or directory that the agent may read and execute, say a virtual environment; again for more
    #[arg(long, value_name = "PATH")]
    pub read: Vec<PathBuf>,
    /// The agent's command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// See [`Command::Govern`].
#[derive(Debug, Args)]
pub struct GovernArgs {
    /// For which agent of the policy
    #[arg(long, value_name = "NAME")]
    pub agent: String,
    /// The tool, as area/name
    #[arg(long, value_name = "TOOL")]
    pub tool: String,
    /// The arguments, a JSON object: the text itself, @FILE, or - for standard input
    #[arg(
        long,
        value_name = "JSON",
        default_value = "{}",
        allow_hyphen_values = true
    )]
    pub args: String,
}

/// See [`Command::Audit`].
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Which part.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// The parts of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Prove the journal: self-consistent, extends a head that you trusted, externally attested
    ///
    /// Exits 0 where it holds, 1 where it is broken, 2 where it cannot tell because no key is pinned.
    #[command(
        after_help = "Example:\n  faramesh audit verify --key log.pub --head yesterday.note\n  faramesh audit verify --from-start --every-signature"
    )]
    Verify(VerifyArgs),
    /// Print the last records, and with --follow those to come
    #[command(after_help = "Example:\n  faramesh audit tail -n 20 --follow")]
    Tail(TailArgs),
    /// Print one record with everything that lies beside it
    #[command(after_help = "Example:\n  faramesh audit show 17")]
    Show(ShowArgs),
    /// Write a file that proves one record, or that the log only grew, to somebody without the journal
    ///
    /// The file holds the record, its place in the tree and the signed checkpoint; arguments and reasons only with
    /// --with-detail. `audit verify-proof` checks it with the public key alone.
    #[command(
        after_help = "Example:\n  faramesh audit prove 17 --out refund.tlog-proof\n  faramesh audit prove --since yesterday.note"
    )]
    Prove(ProveArgs),
    /// Check a proof file with a public key, without the journal
    ///
    /// Exits 0 where it is proven, 1 where the file proves nothing, 2 where fewer witnesses signed than were asked for.
    #[command(
        after_help = "Example:\n  faramesh audit verify-proof refund.tlog-proof --key log.pub"
    )]
    VerifyProof(VerifyProofArgs),
    /// Decide recorded calls again: by the policies of their time, or with --policy by another one
    ///
    /// By the policies of their time it exits 0 where every decision is the same, 1 where some is not, 2 where some
    /// cannot be decided again: what a rule read is redacted, erased or was not counted then, and the field is named.
    /// With --policy it prints the table of changed decisions and exits 0.
    #[command(
        after_help = "Example:\n  faramesh audit replay\n  faramesh audit replay --policy governance.fms --since 24h"
    )]
    Replay(ReplayArgs),
    /// Write records out for other programs, one a line
    ///
    /// Only records under a checkpoint of the pinned key are written; --unsigned writes the others too, marked. What was
    /// written and under which checkpoint is said on standard error.
    #[command(
        after_help = "Example:\n  faramesh audit export --as csv --since 2026-11-01 --tool 'stripe/*' --out november.csv"
    )]
    Export(ExportArgs),
    /// Give up records that are lost: the way out where the daemon does not start because the journal lacks them
    ///
    /// Shows what would be lost and changes nothing, until --yes-lose has the exact number. What cannot be read is copied
    /// aside and cut, and the signer goes back to the last checkpoint that is left. The next start records a gap, and
    /// `audit verify` reports it for ever. Daemon and signer must be stopped; enforced, only root may do it.
    #[command(
        after_help = "Example:\n  faramesh audit abandon --head\n  faramesh audit abandon --head --yes-lose 17 --reason 'the disk died'"
    )]
    Abandon(AbandonArgs),
    /// Erase what lies beside records: arguments, and how decisions came about. The records and every proof stay
    ///
    /// Shows what would go and asks. The daemon records the erasure first; it cannot be taken back. Copies elsewhere
    /// (backups, exports, snapshots of the file system) are not reached.
    #[command(
        after_help = "Example:\n  faramesh audit erase --where args.email=zoe@example.com --reason 'request 4711' --dry-run"
    )]
    Erase(EraseArgs),
    /// List the records that fit, a page at a time
    #[command(
        after_help = "Example:\n  faramesh audit ls --agent support-bot --tool 'stripe/*' --effect deny --since 24h"
    )]
    Ls(LsArgs),
    /// Count records by effect, code, tool, agent and kind
    #[command(after_help = "Example:\n  faramesh audit stats --since 7d --top 20")]
    Stats(StatsArgs),
    /// Print all of a session, or everything about one call
    #[command(after_help = "Example:\n  faramesh audit trace 17")]
    Trace(TraceArgs),
}

/// See [`AuditCommand::Ls`].
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Decisions for this agent, and its sessions' starts
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Decisions about this tool, or those that a pattern names: 'stripe/*'
    #[arg(long, value_name = "TOOL")]
    pub tool: Option<String>,
    /// Decisions that were answered so
    #[arg(long, value_enum, value_name = "EFFECT")]
    pub effect: Option<EffectWord>,
    /// Decisions with this code, say POLICY_DENY
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Decisions and outcomes of this session, its start and its end
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
    /// Records of this kind, say activation
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Records from here on: a time as 2026-11-20T10:00:00Z, or how long ago as 24h
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Records before this
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The oldest first; default: the newest
    #[arg(long)]
    pub oldest_first: bool,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value = "50")]
    pub lines: std::num::NonZeroUsize,
    /// Go on here: what the page before named
    #[arg(long, value_name = "PAGE")]
    pub page: Option<u64>,
    /// Read the whole journal and ask no index
    #[arg(long)]
    pub scan: bool,
}

/// An effect on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EffectWord {
    /// Permitted
    Permit,
    /// Left to a person
    Defer,
    /// Denied
    Deny,
}

/// See [`AuditCommand::Stats`].
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Records from here on: a time as 2026-11-20T10:00:00Z, or how long ago as 24h
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Records before this
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many tools and agents, the busiest first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub top: u32,
    /// Read the whole journal and ask no index
    #[arg(long)]
    pub scan: bool,
}

/// See [`AuditCommand::Trace`].
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// A session, or the number of a decision or outcome
    #[arg(value_name = "SESSION|SEQ")]
    pub of: String,
    /// How many records of a session
    #[arg(short = 'n', long, value_name = "N", default_value = "1000")]
    pub lines: std::num::NonZeroUsize,
    /// Go on here: what the page before named
    #[arg(long, value_name = "PAGE")]
    pub page: Option<u64>,
    /// Read the whole journal and ask no index
    #[arg(long)]
    pub scan: bool,
}

/// See [`Command::Index`].
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// Throw away what was made and make it anew
    #[arg(long)]
    pub rebuild: bool,
}

/// See [`AuditCommand::Abandon`].
#[derive(Debug, Args)]
pub struct AbandonArgs {
    /// What is given up: the head, that is everything behind the last checkpoint that is left
    #[arg(long, required = true)]
    pub head: bool,
    /// Do it: so many records are lost, exactly
    #[arg(long, value_name = "N", requires = "reason")]
    pub yes_lose: Option<u64>,
    /// Why, in your words: it stands in the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// See [`AuditCommand::Replay`].
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Decide by this policy: a number or digest of `policy list`, or a file
    #[arg(long, value_name = "N|DIGEST|FILE")]
    pub policy: Option<String>,
    /// Decisions from here on: a time as 2026-11-20T10:00:00Z or @MILLISECONDS, or how long ago as 24h
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Decisions before this
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many changed decisions are kept one by one
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub limit: usize,
}

/// See [`AuditCommand::Verify`].
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A journal's directory; default: the stack's own
    #[arg(value_name = "JOURNAL")]
    pub journal: Option<PathBuf>,
    /// The public log key to trust (one line, as in log.pub); default for the stack's own journal: its pinned log.pub
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A checkpoint that you trusted before: the journal must extend it
    #[arg(long, value_name = "NOTE")]
    pub head: Option<PathBuf>,
    /// Check the signature of every checkpoint, not only of those that end a segment or an epoch
    #[arg(long)]
    pub every_signature: bool,
    /// Read everything again, not only what is new since the last verification that held
    #[arg(long)]
    pub from_start: bool,
    /// Where the last verification is remembered; default: $XDG_STATE_HOME/faramesh/verified
    #[arg(long, value_name = "DIR")]
    pub memory: Option<PathBuf>,
    /// Witnesses' public keys, one a line: whose word counts as attestation
    #[arg(long, value_name = "FILE")]
    pub witness: Option<PathBuf>,
    /// How many of them it needs
    #[arg(long, value_name = "K", default_value_t = 1, requires = "witness")]
    pub quorum: usize,
    /// Checkpoints that witnesses signed, kept elsewhere (a note, or an anchor file): the journal must hold them
    #[arg(long, value_name = "NOTE", requires = "witness")]
    pub attested: Vec<PathBuf>,
}

/// See [`AuditCommand::Tail`].
#[derive(Debug, Args)]
pub struct TailArgs {
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub lines: u64,
    /// Wait for more
    #[arg(short, long)]
    pub follow: bool,
}

/// See [`AuditCommand::Show`].
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The record's number, counted from 0
    pub seq: u64,
}

/// See [`AuditCommand::Export`].
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A journal's directory; default: the stack's own
    #[arg(value_name = "JOURNAL")]
    pub journal: Option<PathBuf>,
    /// In which form
    #[arg(long = "as", value_enum, value_name = "FORM")]
    pub form: ExportForm,
    /// Into this new file, which appears when it is whole, with the checkpoint beside it in FILE.note; default: standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Records from this moment on: RFC 3339, a date (UTC), or how long ago (24h, 7d)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Records before this moment
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Records from this number on
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// Records up to this number, it included
    #[arg(long, value_name = "SEQ")]
    pub to: Option<u64>,
    /// Only what this agent did: its decisions and the starts of its sessions
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only decisions on tools that this pattern covers, as in a rule
    #[arg(long, value_name = "GLOB")]
    pub tool: Option<String>,
    /// Only decisions of this effect
    #[arg(long, value_enum, value_name = "EFFECT")]
    pub effect: Option<ExportEffect>,
    /// The public log key to trust; default for the stack's own journal: its pinned log.pub
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Write records that no valid checkpoint covers too, marked as such
    #[arg(long)]
    pub unsigned: bool,
}

/// See [`AuditCommand::Erase`].
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct EraseArgs {
    /// Decisions with these numbers: 17, or 17-20,42
    #[arg(long, value_name = "A-B,...", group = "which")]
    pub records: Option<String>,
    /// Decisions of this session
    #[arg(long, value_name = "SESSION", group = "which")]
    pub session: Option<String>,
    /// Decisions that were asked with this argument, as it is in the journal; again for more, and all must hold
    #[arg(long = "where", value_name = "args.PATH=VALUE", group = "which")]
    pub with: Vec<String>,
    /// Why, in one line; it is recorded for ever, so it must not name what is erased
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Only show what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `audit export --as`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// JSON, a record a line, as it stands in the journal
    Jsonl,
    /// A table (RFC 4180)
    Csv,
    /// Open Cybersecurity Schema Framework 1.9.0, an event a line
    Ocsf,
    /// ArcSight Common Event Format, an event a line
    Cef,
}

/// `audit export --effect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportEffect {
    /// What was permitted
    Permit,
    /// What was put to a person
    Defer,
    /// What was denied
    Deny,
}

/// See [`AuditCommand::Prove`].
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The record's number, counted from 0
    #[arg(required_unless_present = "since")]
    pub seq: Option<u64>,
    /// Instead of a record: that the log continues this checkpoint, which you kept
    #[arg(long, value_name = "NOTE", conflicts_with_all = ["seq", "with_detail"])]
    pub since: Option<PathBuf>,
    /// Where the proof goes; default: stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Show what lies beside the record too: arguments, reasons, and the salts that the record's hashes were made with
    #[arg(long)]
    pub with_detail: bool,
    /// Prove against this checkpoint, such as one that witnesses signed; default: the journal's newest
    #[arg(long, value_name = "NOTE")]
    pub checkpoint: Option<PathBuf>,
    /// A journal's directory; default: the stack's own
    #[arg(long, value_name = "JOURNAL")]
    pub journal: Option<PathBuf>,
    /// The public log key that the proof is checked with before it leaves; default for the stack's own journal: log.pub
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// See [`AuditCommand::VerifyProof`].
#[derive(Debug, Args)]
pub struct VerifyProofArgs {
    /// The proof
    pub file: PathBuf,
    /// The public log key to trust; default: the stack's own log.pub
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Public keys of witnesses, one a line: who of them signed the checkpoint
    #[arg(long, value_name = "FILE")]
    pub witness: Option<PathBuf>,
    /// How many of these witnesses must have signed
    #[arg(long, value_name = "K", default_value_t = 1, requires = "witness")]
    pub quorum: usize,
}

/// See [`Command::Completions`].
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// See [`Command::Man`].
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where the pages go; made where missing
    pub dir: PathBuf,
}
