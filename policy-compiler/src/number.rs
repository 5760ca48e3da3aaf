//! The catalogue: every number that the compiler may give, with the page that `faramesh explain` shows.
//!
//! A number is never given to another thing once it was released. `E` is an error, `W` a warning; hundreds are rooms:
//! 00 the text, 01 its structure, 02 settings, 03 rules and conditions, 04 what this version does not hold, 05 limits,
//! 06 the YAML and JSON forms, 07 packs, 09 files beside a policy. E0402 (clauses) and E0405 (operators) said what earlier
//! versions did not hold, and are not given again.

use crate::diagnostic::Severity;

macro_rules! numbers {
    ($($variant:ident = $text:literal: $title:literal, $page:literal;)*) => {
        /// The stable name of a kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Number {
            $(#[doc = $title] $variant,)*
        }

        impl Number {
            /// Every number, in the order of the catalogue.
            pub const ALL: &'static [Number] = &[$(Number::$variant,)*];

            /// `E0101`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Number::$variant => $text,)* }
            }

            /// What kind of finding, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Number::$variant => $title,)* }
            }

            /// What it means, why it is refused, and what to write instead.
            pub const fn page(self) -> &'static str {
                match self { $(Number::$variant => $page,)* }
            }
        }
    };
}

numbers! {
    SourceTooLarge = "E0001": "the file is too large", "A policy file has at most 8 MiB. Rules that differ only in a tool's name are usually one rule with a pattern such as `stripe/*`.";
    NotUtf8 = "E0002": "the file is not UTF-8", "Policy files are UTF-8 text. The place named is the first byte that is not. Save the file as UTF-8, without a byte-order mark of another encoding.";
    ForbiddenCharacter = "E0003": "a character that must not stand in a policy", "Control characters, zero-width characters and characters that change the direction of text make a file read differently from what it says. They are refused everywhere, in comments and strings too. In a regular expression write the character as an escape, such as `\\x{200B}`.";
    UnterminatedString = "E0004": "a string without an end", "A string ends on the line it starts on, with the quote that opened it. Write a line break inside a string as `\\n`, a quote as `\\\"`.";
    UnexpectedCharacter = "E0005": "a character that means nothing here", "Bare words are letters, digits, `_` and `-`; tools also have `/`, `.`, `:` and `*`. Anything else belongs into quotes.";
    BadNumber = "E0006": "not a number", "Numbers are written `42`, `3.14`, `1e3`, amounts `$500` or `$10.00`: no thousands separators, no leading zeros, digits on both sides of the point. At most 1,000 digits and exponents within ±1,000.";
    UnknownUnit = "E0007": "an unknown unit", "Durations have the units `s m h d w`, sizes `kb mb gb` (1 kb is 1,000 bytes). Units follow the number without a space and are whole or decimal numbers: `15m`, `1.5h`, `10mb`.";
    UnknownEscape = "W0001": "an unknown escape in a string", "Strings know `\\\\`, `\\\"`, `\\'`, `\\n` and `\\t`. Anything else keeps both characters, because published policies write regular expressions that way. Double the backslash to say so: `\"\\\\s\"`.";

    UnexpectedToken = "E0101": "something else was expected", "The text at this place does not continue the statement before it. The message names what could stand here.";
    UnclosedBlock = "E0102": "a brace without its partner", "Every `{` needs its `}`, every `(` its `)`, every `[` its `]`. The label shows the one that was opened.";
    UnknownEffect = "E0103": "an unknown effect", "A rule starts with `permit`, `defer`, `deny` or `deny!`; `allow` and `approve` mean permit, `block` and `reject` mean deny. Nothing else is guessed.";
    UnknownWord = "E0104": "an unknown block or setting", "Every word of a policy must be known: one that were skipped would be a protection that is not there. The message names the nearest known one.";
    UnknownClause = "E0105": "an unknown clause in a rule", "After its tool a rule may have `if` (or `when`), `method`, `host`, `port`, `path`, `query`, `header`, `door`, `reason`, `notify` and `reeval`, in any order.";
    MissingTool = "E0106": "a rule without a tool", "After the effect stands the tool that the rule speaks of: `stripe/refund`, `stripe/*`, or `*` for every tool.";
    BadPattern = "E0107": "a tool pattern that is none", "A pattern is `*`, or segments joined by `/`. `*` inside a segment stands for one or more characters of that segment, `/*` at the end for everything below. `**` and empty segments do not exist.";
    TooDeep = "E0108": "nested too deeply", "Conditions nest at most 64 deep, blocks at most 16. A condition that deep is not reviewed by anybody: split it into rules.";
    NoAgent = "E0109": "a file without an agent", "A policy file describes at least one agent: `agent \"name\" { … }`, or bare rules, which are the policy of one agent without a name.";

    DuplicateAgent = "E0201": "two agents of one name", "An agent's policy stands in one block, so that whoever reads it has read it all. Join the two.";
    DuplicateSetting = "E0202": "a setting given twice", "A setting stands once. Remove one: neither the first nor the last is silently preferred.";
    BadValue = "E0203": "a value that the setting does not take", "The message names what the setting takes.";
    BadUser = "E0204": "not a user that an agent may run as", "`run_as` is the name of an ordinary user: lower-case letters, digits, `_` and `-`. Never root, never a number, and never one of Faramesh's own users, because the agent would then hold what is kept from it.";
    MixedAgents = "E0205": "rules that belong to nobody", "Bare rules are the policy of one agent without a name. In a file with named agents they would belong to none of them: move them into the agent.";
    BadName = "E0206": "a name that is none", "Names have 1 to 128 characters, without spaces at the ends.";
    MissingSetting = "E0207": "a block that lacks what it needs", "Some blocks mean nothing without one of their settings: an alert needs to know when and where, a budget how much. The message names what is missing.";
    DuplicateBlock = "E0208": "a block given twice", "Blocks without a name stand once, blocks with a name once for each name, so that whoever reads one has read it all. Join the two.";
    BadVar = "E0209": "a variable that cannot be", "`var name value` gives a name to one text, number, true/false or list. The name must not be one that the language or published policies use for something else, because a condition that reads it would then mean another thing.";
    UnknownZone = "E0210": "an unknown time zone", "`timezone` is a name of the IANA database, such as `Europe/Berlin` or `UTC`. The rules of the zone from 2020 to 2050 are compiled into the policy.";
    ModelNotEnforced = "W0201": "`model` describes and does not bind", "`model` inside an agent is kept as a description. Which model an agent really uses is not checked by this version.";
    SecretInClear = "W0202": "a secret in clear", "Whoever may read the policy may read this, and so may whoever reads its history. `env(\"NAME\")` is a reference: the process that needs the value looks it up, and neither the policy nor the artifact holds it.";
    UnusedVar = "W0203": "a variable that nothing uses", "Its value has no effect. Remove it, or write its name where it was meant.";
    AlwaysSo = "W0204": "a setting that is always so", "What this setting asks for holds whatever it says: policies are always signed, the running policy is never the file, credentials in the environment are always stripped. It is kept in the policy and asks nothing of the daemon.";

    UnknownVariable = "E0301": "an unknown variable", "Variables are `tool`, `action`, `agent`, `model`, `args.…`, and what stands below `time`, `session`, `principal`, `query`, `headers`, `selectors`, `delegation` and `enforcement`. Any other bare name is an argument of the call. Below a reserved word every name is known or refused.";
    NotACondition = "E0302": "a condition that asks nothing", "A condition compares, tests or asks: `amount < 500`, `currency in [\"eur\"]`, `has to`, or the name of an argument that is true or false.";
    BadOperand = "E0303": "a comparison of things that cannot be compared", "Less and greater compare numbers, amounts, durations and sizes. `matches` takes a regular expression in quotes, `in` a list. Arguments stand on one side at least: two constants need no asking.";
    BadRegex = "E0304": "a regular expression that does not compile", "Regular expressions have the syntax of the Rust `regex` crate: no look-around, no back-references. They search; write `^` and `$` to match the whole.";
    BadList = "E0305": "a list that cannot be tested", "A list in a condition has at least one element, and all are numbers, all text, or all true/false.";
    ChainedComparison = "E0306": "a chain of comparisons", "`1 < x < 5` does not mean what it says anywhere. Write `x > 1 and x < 5`.";
    DuplicateClause = "E0307": "a clause given twice", "A rule has one `if` and one `reason`. Join conditions with `and`.";
    UndeclaredArgument = "E0320": "an argument that its tool does not have", "The `tool` block that holds for all tools of this rule is `closed` and does not declare the argument, so no call can have it. Correct the name, or declare it: `arg name: text`.";
    TypeMismatch = "E0321": "a test that the types make impossible", "One side is known to be of another type than the other: by the `tool` block that declares the argument, or because the variable always is. An amount is never text or true, a duration is no amount. No call could make such a test true or false, so a rule with it would only ever be unsure. A plain number may be compared with numbers of every unit.";
    EmptyExpression = "E0322": "a regular expression that matches no text", "`^` is the start of the text and `$` its end: what stands before a `^` or behind a `$` can never be there. A sign that is meant as itself has a backslash before it, `\\\\$` in a string.";
    BadCall = "E0323": "a function that is called in another way", "The message shows how the function is written. Windows are durations with their unit, `window=1h`; tools are written as in a rule; arguments are named, not quoted.";
    UnknownFunction = "E0324": "an unknown function", "Functions are `purpose`, `session.sum`, `session.count`, `session.denials`, `history.within`, `len` and `contains`, and the older `history_contains_within`, `history_tool_count`, `deny_count_within`, `args_array_len`, `args_array_contains` and `args_array_any_match`.";
    BadTime = "E0325": "a text that is no such time", "`time.weekday` is 1 (Monday) to 7 or a day's name, `time.month` 1 to 12 or a month's name, both in full or in three letters; `time.now` is compared with a time such as `\"2026-01-31T12:00:00Z\"`. The other parts of the time are numbers.";
    BadClause = "E0326": "a value that the clause does not take", "`method` takes methods of HTTP, `host` a name or `*.` and a name, `port` 1 to 65535, `path` a path that starts with `/` in which `*` stands as in a tool's pattern, `query` and `header` a name and the whole value, `door` the name of a door, `reeval` true or false.";
    BadSchema = "E0327": "a tool's schema that says nothing", "A `tool` block names the tool or a pattern and has lines `arg NAME: KIND`, `arg NAME: KIND required`, and `closed` where there are no other arguments. Kinds are `any bool number money duration size text list object path path.read path.edit`.";
    BadPathRule = "E0328": "a glob that matches no path", "Path rules are compared with normalised paths: relative ones without `.` and `..`, absolute ones from `/`. `*` stands for characters within a segment, `**` for whole segments.";
    BadRedaction = "E0329": "a redaction that names no argument", "`redact TOOL args: [\"a\", \"b.c\"]` names the tools and the arguments that records do not keep.";
    UnknownLayer = "E0330": "an unknown layer of enforcement", "`require enforcement` and `enforcement.…` name layers that a launch measures from inside the confined process, such as `landlock.fs.write`. `faramesh status` lists what was measured.";
    ExampleFails = "E0331": "an example that comes out otherwise", "Examples are calls with the decision that the policy must give them. They are put to the compiled policy whenever it is compiled. Either the policy does not mean what was meant, or the example does not: the message shows what came out and which rule decided.";
    BadExample = "E0332": "an example that is no call", "An example is an effect, a tool's full name and its arguments: `permit stripe/refund { amount: 80 }`. A code may follow, and `given { time.hour: 3 }` for facts beside the arguments.";
    ForeignWord = "E0333": "a word that means something elsewhere", "Other languages have `null`, `None`, `True` and `yes`. Here every bare name is an argument of the call, so `amount == null` would compare two arguments that the caller chooses. Write `not has amount` for what is missing, `true` or `false` for truth. If an argument of that name is meant, write `args.` before it.";
    AmbiguousTool = "E0334": "a tool and an argument that cannot be told apart", "A tool's name may have points, and so may an argument's path: `stripe.refund.amount` is `refund.amount` of `stripe`, or `amount` of `stripe.refund`. What the rules and schemas of the agent name decides; where that leaves several readings or none, put the tool in quotes: `session.sum(\"stripe.refund\".amount)`.";
    DoubtfulName = "W0301": "a name that is nearly a variable", "A bare name is an argument of the call. This one is nearly the name of a variable. If the argument is meant, write `args.` before it.";
    UnreachableRule = "W0302": "a rule that never applies", "The first rule that matches decides. An earlier rule without a condition speaks of all these tools already, so this one is never reached.";
    AbsentFieldDenies = "W0303": "a rule for every tool that tests an argument", "A test of an argument that a call does not have is neither yes nor no, and then the stricter answer holds: this rule refuses every tool that lacks the argument. Write `has args.x and …` to leave such tools alone.";
    CoverHole = "W0304": "every value is covered but a call without one is not", "Two rules cover every value of an argument between them. A call that lacks the argument satisfies neither, and the default decides.";
    ClaimedFact = "W0305": "a permit that rests on what the caller claims", "In a condition `host` and `method` are arguments of the call, as the caller states them. Nobody compares them with the request that is really made. Write `args.` before the name to say that this is meant.";
    ConstantCondition = "W0306": "a condition that is always the same", "This condition does not depend on the call.";
    NameForText = "W0307": "an argument is compared with a bare name", "A bare name is an argument of the call. `currency == USD` compares two arguments, and the caller chooses both: a call that brings a `USD` of its own satisfies it. Text stands in quotes: `\"USD\"`. If two arguments are meant, declare them in a `tool` block or write `args.` before the name.";

    NeverHolds = "W0320": "a condition that nothing satisfies", "No value makes this condition true, so the rule never decides. Where an argument that it tests is missing it is still neither true nor false, and a rule that denies then refuses for nothing. Mend the condition or remove the rule.";
    UnknownAtDoor = "W0321": "a denial that rests on what one door cannot know", "`method`, `host`, `port`, `path`, `query` and `header` are facts of the request that is really sent. At door `govern` there is no request yet: whether this rule applies is unknown there, and the stricter answer holds. Write `door egress` in the rule to speak of requests only.";
    RedactedDeferral = "W0322": "a deferral that rests on what its approver cannot see", "The argument decides that a person is asked, and `redact` keeps it from every record and so from that person. Redact another argument, or let the rule rest on one that is shown.";

    NeverCounted = "W0323": "a count of calls that nothing permits", "Sums and counts are over permitted calls. No rule of this agent permits or defers such a tool, so this is always 0, and a limit that rests on it never holds. Correct the tool's name.";
    UnboundedBelow = "W0324": "a limit that a negative amount passes", "A permit up to a cap over what was summed holds for every number below it, for -100000 too, and a refund of that is a payment. `arg amount: money` in the tool's schema refuses amounts below zero before any rule; `amount >= 0` in the condition does it for one rule.";
    PathsByName = "W0325": "paths that are known by the names of arguments only", "`paths` checks what a schema declares as a path. Of a tool without one it checks arguments whose names look like paths, and whatever else the tool takes for a path is not checked. Declare its arguments: `tool files/write { arg target: path.edit }`.";
    BlockNotSupported = "E0401": "a block or setting of the language that this version does not hold", "Nothing written is ever dropped: what this version cannot enforce, it does not compile. Remove it, and know that the protection is not there.";
    VariableNotSupported = "E0403": "a variable that no door of this policy can supply", "Nothing that this policy declares vouches for the fact, so a rule that tests it would never be sure. `principal` needs an `identity` block, a selector its `selector` block.";
    FunctionNotSupported = "E0404": "a function that is not part of the language here", "`history_sequence` of older files asked for an order of calls. Which calls were permitted and when is kept, their order is not asked: join several `history.within(tool, 1h)` with `and`.";

    TooManyRules = "E0501": "too many rules", "An agent has at most 100,000 rules. Rules that differ only in a tool's name are usually one rule with a pattern.";
    TooManyAgents = "E0504": "too many agents", "A policy has at most 1,000 agents. More of them are divided into several stacks, each with its own daemon.";
    TooManyTests = "E0502": "too many tests in a condition", "A condition has at most 1,024 tests, which bounds the cost of a decision. Lists in `in […]` count as one test.";
    StringTooLong = "E0503": "a string that is too long", "Names, reasons, patterns and regular expressions have limits, so that no decision costs more than is known beforehand.";
    BadImport = "E0701": "an import that is none", "`import \"host/path@1.2.3\" as name` names one exact version: a policy must not change because somebody published something. `@latest` and ranges are refused. `use name { … }` in an agent takes the pack in.";
    RegistryUnreachable = "E0702": "a pack that cannot be had", "The registry does not have the pack, or cannot be reached. The policy may be right: this says nothing about it.";
    PackUntrusted = "E0703": "a pack that no trusted key vouches for", "A pack is taken in only when a key of `trust { key \"host/path\" ed25519:… }` signed it. A key speaks for the packs below its own path; where several do, the one with the longest path.";
    PackSignature = "E0704": "a pack whose signature does not hold", "The note beside the pack was not signed by the trusted key, or it speaks of another name, another version or another text. Do not work around this: find out who changed the pack.";
    BadPack = "E0705": "a pack that is none", "A pack file is one `pack \"name\" { … }` with its version, parameters, rules, redactions and egress. It describes no agents, because whoever imports it decides which agents take it in.";
    PackParameter = "E0706": "a parameter of a pack that does not fit", "`use name { parameter = value }` gives each parameter that the pack declares, of its type; those with a default may be left out.";
    UnusedImport = "W0701": "a pack that nobody uses", "An import alone has no effect: an agent takes the pack in with `use`.";
    ArtifactRefused = "E0506": "a policy that the daemon would not load", "The compiled policy passed a limit that is checked by the daemon too. The message says which. If no other finding explains it, this is a fault of the compiler: please report it.";
    TooManyWarnings = "W0501": "more warnings", "The first 100 findings are shown. Mend these and run it again.";
    TooManyErrors = "E0505": "more errors", "The first 100 findings are shown. Mend these and run it again.";

    BadFixture = "E0901": "a fixture that cannot be run", "A fixture is `{ fixture, agent_id, cases }`; a case is `{ name, tool, args, suppose, expect }`, of which `tool` and `expect` must be there; `expect` holds `effect` and where wanted `rule_ref`, `code` and `missing`. A key that is not known is refused, because what it was meant to check would not be checked.";

    NotYaml = "E0601": "a file that is not YAML", "A file whose name ends in `.yaml` or `.yml` is YAML 1.2. The place named is where it can no longer be read as that. Text with `: `, ` #` or a first character such as `*`, `!`, `&`, `@`, `%` or `{` belongs into quotes.";
    NotJson = "E0602": "a file that is not JSON", "A file whose name ends in `.json` is JSON and nothing more: double quotes, no comments, no trailing commas. The YAML form has comments.";
    DuplicateKey = "E0603": "a key given twice", "A key stands once in its mapping. Readers of YAML and JSON differ in which of two they keep, so neither is kept.";
    YamlAlias = "E0604": "an anchor, an alias or a merge key", "A policy says what it says in the place where it says it. An alias says what stands elsewhere, and a few lines of aliases can stand for gigabytes. Write the value out. A pattern that starts with `*` belongs into quotes: `\"*\"`.";
    YamlTag = "E0605": "a tag or a directive", "Tags (`!!str`, `!x`) and directives (`%YAML`) change how YAML is read. Policies have neither. Text that starts with `!` belongs into quotes.";
    SeveralDocuments = "E0606": "several documents in one file", "A policy is one document. What stands behind a second `---` would be a second policy.";
    BadKey = "E0607": "a key that is not text", "Keys are text. A number, `true`, `null`, a list or a mapping as a key is read differently by different readers: put it into quotes if it is a name.";
    AmbiguousScalar = "E0608": "a value that versions of YAML read differently", "Without quotes, `yes`, `no`, `on`, `off`, `y` and `n` are true or false in YAML 1.1 and text in YAML 1.2; `010` is eight or ten; `1:30` is ninety or text. Write `true` or `false`, a plain decimal number, or quotes.";
    YamlTab = "E0609": "a tab where YAML is indented", "YAML is indented with spaces; how wide a tab is, nobody knows.";
    DocumentTooDeep = "E0610": "a document that is too deep or too large", "Lists and mappings nest at most 64 deep, and a document has at most two million values. Nobody reviews more.";
    UnknownKey = "E0611": "an unknown key", "Every key of a policy must be known: one that were skipped would be a protection that is not there. The message names the nearest known one.";
    WrongShape = "E0612": "a value of another shape", "The key is known and takes something else: the label says what. Lists of blocks are lists of mappings; conditions are text in the policy language.";
    OtherForm = "E0613": "a file of another form", "The file's name says how it is read: `.yaml` and `.yml` as YAML, `.json` as JSON, every other as the policy language. This one looks like another of the three.";
    NotFormatted = "E0614": "a file that is not formatted", "`faramesh fmt` formats files in the policy language. YAML and JSON have formatters of their own.";
}

impl Number {
    /// The number of this name: `E0101`, in any case.
    pub fn of(text: &str) -> Option<Number> {
        Number::ALL
            .iter()
            .copied()
            .find(|number| number.as_str().eq_ignore_ascii_case(text))
    }

    /// The letter says it.
    pub const fn severity(self) -> Severity {
        match self.as_str().as_bytes() {
            [b'W', ..] => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_findings_share_a_number_and_each_has_a_page() {
        let names: BTreeSet<_> = Number::ALL.iter().map(|number| number.as_str()).collect();
        assert_eq!(names.len(), Number::ALL.len());
        for number in Number::ALL {
            assert_eq!(Number::of(number.as_str()), Some(*number));
            assert!(number.page().len() > 40, "{} needs a page", number.as_str());
        }
    }
}
