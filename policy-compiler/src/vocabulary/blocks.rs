//! The blocks of settings, as data: which keys each takes, with which type. The parser reads the shapes from here, the
//! lowering the types, the messages the words; nothing else knows what a `budget` is.
//!
//! Invariants: keys of a block are distinct; where two published spellings mean the same, one names the other as the key
//! that is kept ([`Key::kept_as`]).

/// A block of settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) word: &'static str,
    pub(crate) label: Label,
    pub(crate) keys: &'static [Key],
    /// Further keys by the value of `type`.
    pub(crate) variants: &'static [(&'static str, &'static [Key])],
    /// Keys that are not listed, as long as they hold this.
    pub(crate) free: Option<Type>,
    /// At least one of these has to stand there: without it the block says nothing.
    pub(crate) some_of: &'static [&'static str],
}

/// What stands between a block's keyword and its brace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// Nothing, and the block stands once.
    None,
    /// Nothing, and the block may stand several times.
    Many,
    /// A name, each once.
    Name,
    /// A name, or none and the block stands once.
    Maybe,
    /// A name, here or as this key.
    OrKey(&'static str),
}

/// A key of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) word: &'static str,
    pub(crate) of: Type,
    /// The block means nothing without it.
    pub(crate) required: bool,
    /// The key in the artifact, where this is another spelling.
    pub(crate) kept_as: Option<&'static str>,
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// Any text, bare or in quotes; a reference to the environment.
    Text,
    /// Text that must not be read by everybody who reads the file.
    Secret,
    /// `scheme://…`; a reference to the environment.
    Url,
    /// One word of these.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Count,
    /// 1 to 65535.
    Port,
    /// 0 to 1.
    Ratio,
    Money,
    /// `30m`, and `"30m"` as one dialect writes it.
    Duration,
    /// `10mb`; a bare number counts bytes.
    Size,
    Bool,
    /// Any number: plain, money, duration, size.
    Quantity,
    /// A list of texts; one text is a list of one.
    Texts,
    /// A list of words of these.
    Words(&'static [&'static str]),
    /// A list of hosts, with `*` for labels.
    Hosts,
    /// A list of tool patterns.
    Patterns,
    /// A list of names of environment variables.
    Variables,
    /// Words up to the line's end: `scope refund read_charge`; a list or a text too.
    Line,
    /// What `completion_gate` requires; may stand several times.
    Requirements,
    /// `slack://…`, `email://…`, …
    Notify,
    /// `refund:amount<=1000`.
    Scope,
}

impl Type {
    /// For messages: what belongs there.
    pub(crate) fn noun(self) -> String {
        let words = |words: &[&str]| crate::diagnostic::alternatives(words.iter().copied());
        match self {
            Type::Text => String::from("text, or `env(\"NAME\")`"),
            Type::Secret => String::from("`env(\"NAME\")`"),
            Type::Url => {
                String::from("an address in quotes, such as `\"https://…\"`, or `env(\"NAME\")`")
            }
            Type::OneOf(choices) => words(choices),
            Type::Count => String::from("a whole number"),
            Type::Port => String::from("a port, 1 to 65535"),
            Type::Ratio => String::from("a number from 0 to 1, such as `0.8`"),
            Type::Money => String::from("an amount, such as `$500`"),
            Type::Duration => String::from("a duration with its unit, such as `30m`"),
            Type::Size => String::from("a size, such as `10mb`"),
            Type::Bool => words(&["true", "false"]),
            Type::Quantity => String::from("a number, an amount, a duration or a size"),
            Type::Texts => String::from("a list of texts"),
            Type::Words(choices) => format!("a list of {}", words(choices)),
            Type::Hosts => {
                String::from("a list of hosts, such as `[\"api.example.com\", \"*.example.org\"]`")
            }
            Type::Patterns => String::from("a list of tools, such as `[\"stripe/*\"]`"),
            Type::Variables => String::from("a list of names of environment variables"),
            Type::Line => String::from("words, such as `refund read_charge`"),
            Type::Requirements => String::from("a requirement, such as `\"no_pending_approvals\"`"),
            Type::Notify => String::from(
                "an address that starts with `slack:`, `email:`, `pagerduty:` or `webhook:`",
            ),
            Type::Scope => String::from("a scope, such as `\"refund:amount<=1000\"`"),
        }
    }
}

/// What `completion_gate { require … }` knows beside `effect:X`, `min_records:N` and a tool.
pub(crate) const REQUIREMENTS: &[&str] = &[
    "all_tools_permitted",
    "budget_under_limit",
    "no_pending_approvals",
    "no_pending_defers",
    "no_uncommitted_writes",
];

/// Ways to reach a person.
pub(crate) const NOTIFY_SCHEMES: &[&str] = &["slack", "email", "pagerduty", "webhook"];

const fn key(word: &'static str, of: Type) -> Key {
    Key {
        word,
        of,
        required: false,
        kept_as: None,
    }
}

const fn needed(word: &'static str, of: Type) -> Key {
    Key {
        word,
        of,
        required: true,
        kept_as: None,
    }
}

const fn also(word: &'static str, kept_as: &'static str, of: Type) -> Key {
    Key {
        word,
        of,
        required: false,
        kept_as: Some(kept_as),
    }
}

const fn block(word: &'static str, label: Label, keys: &'static [Key]) -> Block {
    Block {
        word,
        label,
        keys,
        variants: &[],
        free: None,
        some_of: &[],
    }
}

const EFFECTS_ON_EXCEED: Type = Type::OneOf(&["deny", "defer", "audit"]);
const EFFECTS_ON_FAILURE: Type = Type::OneOf(&["deny", "defer"]);

/// Blocks inside an agent.
pub(crate) const AGENT_BLOCKS: &[Block] = &[
    block(
        "alert",
        Label::Many,
        &[
            needed(
                "on",
                Type::Words(&[
                    "approved",
                    "budget_exceeded",
                    "budget_warning",
                    "defer",
                    "deny",
                    "permit",
                    "rate_exceeded",
                ]),
            ),
            needed("notify", Type::Notify),
        ],
    ),
    Block {
        free: Some(Type::Quantity),
        ..block(
            "ambient",
            Label::None,
            &[key("on_exceed", EFFECTS_ON_EXCEED)],
        )
    },
    Block {
        some_of: &["max", "daily", "max_calls"],
        ..block(
            "budget",
            Label::Name,
            &[
                key("max", Type::Money),
                key("daily", Type::Money),
                key("max_calls", Type::Count),
                key("warn_at", Type::Ratio),
                key("on_exceed", EFFECTS_ON_EXCEED),
            ],
        )
    },
    block(
        "completion_gate",
        Label::None,
        &[needed("require", Type::Requirements)],
    ),
    block(
        "credential",
        Label::Name,
        &[
            key("backend", Type::Text),
            key("max_scope", Type::Scope),
            key("path", Type::Text),
            key("scope", Type::Line),
            key("ttl", Type::Duration),
        ],
    ),
    block(
        "delegate",
        Label::OrKey("target_agent"),
        &[
            key(
                "ceiling",
                Type::OneOf(&["inherited", "approval", "permit", "defer", "deny"]),
            ),
            key("inherits", Type::Texts),
            key("scope", Type::Line),
            key("target_agent", Type::Text),
            key("to", Type::Texts),
            key("ttl", Type::Duration),
        ],
    ),
    block(
        "egress",
        Label::None,
        &[key("allow", Type::Hosts), key("deny", Type::Hosts)],
    ),
    block(
        "enforcement",
        Label::None,
        &[needed("mcp_proxy_port", Type::Port)],
    ),
    block("model_policy", Label::None, &[needed("allow", Type::Texts)]),
    Block {
        some_of: &["source"],
        ..block(
            "selector",
            Label::Name,
            &[
                key("cache", Type::Duration),
                key("on_timeout", EFFECTS_ON_FAILURE),
                key("on_unavailable", EFFECTS_ON_FAILURE),
                key("source", Type::Url),
            ],
        )
    },
    Block {
        some_of: &["max_duration", "idle_timeout"],
        ..block(
            "session",
            Label::None,
            &[
                key("idle_timeout", Type::Duration),
                key("max_duration", Type::Duration),
            ],
        )
    },
    Block {
        some_of: &["max_concurrent", "allowed_types", "allow"],
        ..block(
            "spawn",
            Label::None,
            &[
                also("allow", "allowed_types", Type::Texts),
                key("allowed_types", Type::Texts),
                key("max_concurrent", Type::Count),
            ],
        )
    },
];

const SIGNING_ALGORITHM: Key = key("signing_algorithm", Type::Text);

/// Blocks of the whole stack.
pub(crate) const STACK_BLOCKS: &[Block] = &[
    Block {
        variants: IDENTITIES,
        ..block(
            "identity",
            Label::Name,
            &[
                key("domain", Type::Text),
                needed("type", Type::OneOf(&["oidc", "spiffe"])),
            ],
        )
    },
    Block {
        variants: PROVIDERS,
        ..block(
            "provider",
            Label::Name,
            &[
                key("scope_required", Type::Bool),
                needed("type", Type::OneOf(PROVIDER_TYPES)),
            ],
        )
    },
    block(
        "system",
        Label::Maybe,
        &[
            key(
                "kill_switch_default",
                Type::OneOf(&["deny", "deny_all", "off", "on"]),
            ),
            key("max_output_bytes", Type::Size),
            key("version", Type::Text),
            key("on_policy_load_failure", Type::OneOf(&["deny", "deny_all"])),
        ],
    ),
];

const IDENTITIES: &[(&str, &[Key])] = &[
    (
        "oidc",
        &[
            key("audience", Type::Text),
            key("claim_agent_id", Type::Text),
            key("claim_groups", Type::Text),
            key("client_id", Type::Text),
            needed("issuer", Type::Url),
            key("jwks_url", Type::Url),
        ],
    ),
    (
        "spiffe",
        &[
            key("audience", Type::Text),
            key("socket", Type::Text),
            key("trust_domain", Type::Text),
        ],
    ),
];

const PROVIDER_TYPES: &[&str] = &[
    "aws-kms",
    "aws-sm",
    "azure-key-vault",
    "azure-kv",
    "cost-http",
    "cost-static",
    "datadog-sink",
    "elastic-sink",
    "gcp-kms",
    "gcp-sm",
    "gcs-sink",
    "kms",
    "pkcs11",
    "s3-sink",
    "splunk-sink",
    "vault",
    "vault-transit",
    "webhook-sink",
];

const PROVIDERS: &[(&str, &[Key])] = &[
    (
        "aws-kms",
        &[
            needed("key_arn", Type::Text),
            key("region", Type::Text),
            key("role_arn", Type::Text),
            SIGNING_ALGORITHM,
        ],
    ),
    (
        "aws-sm",
        &[needed("region", Type::Text), key("role_arn", Type::Text)],
    ),
    (
        "azure-key-vault",
        &[
            needed("key_name", Type::Text),
            key("key_version", Type::Text),
            needed("vault_url", Type::Url),
        ],
    ),
    (
        "azure-kv",
        &[
            key("client_id", Type::Text),
            key("client_secret", Type::Secret),
            key("tenant_id", Type::Text),
            needed("vault_url", Type::Url),
        ],
    ),
    ("cost-http", &[needed("url", Type::Url)]),
    ("cost-static", &[]),
    (
        "datadog-sink",
        &[key("api_key", Type::Secret), key("site", Type::Text)],
    ),
    (
        "elastic-sink",
        &[
            key("api_key", Type::Secret),
            key("index", Type::Text),
            needed("url", Type::Url),
        ],
    ),
    (
        "gcp-kms",
        &[needed("key", Type::Text), needed("project", Type::Text)],
    ),
    ("gcp-sm", &[needed("project", Type::Text)]),
    (
        "gcs-sink",
        &[
            key("bucket", Type::Text),
            key("prefix", Type::Text),
            key("project", Type::Text),
        ],
    ),
    ("kms", &[needed("backend", Type::Text)]),
    (
        "pkcs11",
        &[
            key("key_label", Type::Text),
            needed("module_path", Type::Text),
            key("pin", Type::Secret),
            key("slot", Type::Count),
        ],
    ),
    (
        "s3-sink",
        &[
            needed("bucket", Type::Text),
            key("prefix", Type::Text),
            key("region", Type::Text),
        ],
    ),
    (
        "splunk-sink",
        &[
            key("index", Type::Text),
            key("token", Type::Secret),
            needed("url", Type::Url),
        ],
    ),
    (
        "vault",
        &[
            needed("addr", Type::Url),
            key("mount", Type::Text),
            key("namespace", Type::Text),
            key("role", Type::Text),
            key("token", Type::Secret),
        ],
    ),
    (
        "vault-transit",
        &[
            needed("addr", Type::Url),
            needed("key", Type::Text),
            key("mount", Type::Text),
            key("token", Type::Secret),
        ],
    ),
    (
        "webhook-sink",
        &[key("token", Type::Secret), needed("url", Type::Url)],
    ),
];

/// Settings of `runtime` that nothing here decides by. Those that it does decide by are read one by one.
pub(crate) const RUNTIME_KEYS: &[Key] = &[
    key("approval_ttl", Type::Duration),
    key("backend", Type::OneOf(&["postgres", "sqlite"])),
    key("budget_backend", Type::Text),
    key("dsn", Type::Secret),
    key("grpc_port", Type::Port),
    key("http_listen", Type::Text),
    key("http_upstream", Type::Text),
    key("immutable_config", Type::Bool),
    key(
        "log_level",
        Type::OneOf(&["debug", "error", "info", "trace", "warn"]),
    ),
    key("mcp_proxy_port", Type::Port),
    key("network", Type::Text),
    key("os_tier", Type::Text),
    key("postgres_url", Type::Secret),
    key("signing_required", Type::Bool),
    key("signing_warning_acknowledged", Type::Bool),
    key("socket", Type::Text),
    key("strip_ambient_credentials", Type::Bool),
    key("strip_env", Type::Variables),
    key("supervised_command", Type::Text),
    key("tls_cert_file", Type::Text),
    key("tls_key_file", Type::Text),
    key("wal_dir", Type::Text),
    key("wal_retention", Type::Duration),
];

/// Settings of a phase beside its rules.
pub(crate) const PHASE_KEYS: &[Key] = &[
    key("duration", Type::Duration),
    key("next", Type::Text),
    key("tools", Type::Patterns),
];

impl Block {
    /// The block of this keyword.
    pub(crate) fn of(word: &str) -> Option<&'static Block> {
        AGENT_BLOCKS
            .iter()
            .chain(STACK_BLOCKS)
            .find(|block| block.word == word)
    }

    /// The block of the whole stack that the word starts.
    pub(crate) fn of_stack(word: &str) -> Option<&'static Block> {
        STACK_BLOCKS.iter().find(|block| block.word == word)
    }

    /// Every key that some variant of the block takes.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let of_variants = self.variants.iter().flat_map(|(_, keys)| *keys);
        self.keys.iter().chain(of_variants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice_in_one_block_and_each_variant_is_a_word_of_type() {
        for block in AGENT_BLOCKS.iter().chain(STACK_BLOCKS) {
            let variants = block.variants.iter().copied();
            for (variant, more) in variants.chain([("", [].as_slice())]) {
                let mut words: Vec<_> = block.keys.iter().chain(more).map(|key| key.word).collect();
                words.sort_unstable();
                let all = words.len();
                words.dedup();
                assert_eq!(words.len(), all, "{} {variant}", block.word);
            }
            for word in block.some_of {
                assert!(block.all_keys().any(|key| key.word == *word), "{word}");
            }
        }
        let types: Vec<_> = PROVIDERS.iter().map(|(variant, _)| *variant).collect();
        assert_eq!(types, PROVIDER_TYPES);
    }
}
