//! Declarations back to text.

use super::text;
use faramesh_core::decimal::Decimal;
use faramesh_core::policy::artifact::{Datum, Declaration, Phase, Redaction, Setting, Unit};

/// A block or statement of the whole stack or of an agent, with its line's end.
pub(super) fn declaration(of: &Declaration, indent: &str, out: &mut String) {
    match of.keyword.as_str() {
        "rate_limit" => rate_limit(of, indent, out),
        "manifest" => manifest(of, indent, out),
        "key" | "spiffe_federated" => trusted(of, indent, out),
        _ => block(of, indent, out),
    }
}

fn block(of: &Declaration, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str(&of.keyword);
    for label in &of.labels {
        out.push(' ');
        datum(label, out);
    }
    if of.settings.is_empty() && of.inner.is_empty() {
        out.push_str(" {}\n");
        return;
    }
    out.push_str(" {\n");
    let deeper = format!("{indent}  ");
    for of in &of.settings {
        setting(of, &deeper, out);
    }
    for inner in &of.inner {
        declaration(inner, &deeper, out);
    }
    out.push_str(indent);
    out.push_str("}\n");
}

/// `key = value`.
pub(super) fn setting(of: &Setting, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str(&of.key);
    out.push_str(" = ");
    match of.values.as_slice() {
        [only] => datum(only, out),
        several => datum(&Datum::List(several.to_vec()), out),
    }
    out.push('\n');
}

fn rate_limit(of: &Declaration, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str("rate_limit");
    for part in of.labels.iter().take(1) {
        out.push(' ');
        datum(part, out);
    }
    out.push_str(": ");
    for setting in &of.settings {
        setting.values.iter().for_each(|value| datum(value, out));
    }
    let window = match of.labels.get(1) {
        Some(Datum::Number(seconds, _)) => seconds.to_i64(),
        _ => None,
    };
    out.push_str(match window {
        Some(1) => " per second\n",
        Some(60) => " per minute\n",
        Some(3_600) => " per hour\n",
        _ => " per day\n",
    });
}

fn manifest(of: &Declaration, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str("manifest");
    let grant = matches!(of.labels.first(), Some(Datum::Text(form)) if form == "grant");
    for (index, label) in of.labels.iter().enumerate() {
        if grant && index == 2 {
            out.push_str(" to");
        }
        out.push(' ');
        match label {
            Datum::Text(word) if index == 0 => out.push_str(word),
            other => datum(other, out),
        }
    }
    let value = |key: &str| of.settings.iter().find(|setting| setting.key == key);
    for key in ["agents", "max", "undeclared", "approval"] {
        match value(key).map(|setting| (key, setting.values.as_slice())) {
            None => {}
            Some(("agents", [Datum::List(agents)])) => {
                for agent in agents {
                    out.push(' ');
                    datum(agent, out);
                }
            }
            Some(("approval", _)) => out.push_str(" approval"),
            Some((key, values)) => {
                out.push(' ');
                out.push_str(key);
                out.push(' ');
                values.iter().for_each(|value| datum(value, out));
            }
        }
    }
    out.push('\n');
}

fn trusted(of: &Declaration, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str(&of.keyword);
    for label in &of.labels {
        out.push(' ');
        datum(label, out);
    }
    for setting in &of.settings {
        out.push(' ');
        out.push_str(&setting.key);
        out.push_str(" = ");
        setting.values.iter().for_each(|value| datum(value, out));
    }
    out.push('\n');
}

pub(super) fn redaction(of: &Redaction, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str("redact ");
    text(&of.pattern, out);
    out.push_str(" args: ");
    let paths = of.paths.iter().map(|path| Datum::Text(path.join(".")));
    datum(&Datum::List(paths.collect()), out);
    out.push('\n');
}

pub(super) fn phase(of: &Phase, indent: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str("phase ");
    text(&of.name, out);
    out.push_str(" {\n");
    let deeper = format!("{indent}  ");
    for of in &of.settings {
        setting(of, &deeper, out);
    }
    for rule in &of.rules {
        out.push_str(&deeper);
        out.push_str(&rule.text);
        out.push('\n');
    }
    out.push_str(indent);
    out.push_str("}\n");
}

fn datum(of: &Datum, out: &mut String) {
    match of {
        Datum::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Datum::Number(number, unit) => quantity(number, *unit, out),
        Datum::Text(value) => text(value, out),
        Datum::List(parts) => {
            out.push('[');
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                datum(part, out);
            }
            out.push(']');
        }
        Datum::Env(name) => {
            out.push_str("env(");
            text(name, out);
            out.push(')');
        }
    }
}

fn quantity(number: &Decimal, unit: Unit, out: &mut String) {
    let shown = number.to_string();
    match unit {
        Unit::None => out.push_str(&shown),
        Unit::Money => {
            out.push('$');
            out.push_str(&shown);
        }
        Unit::Seconds => {
            out.push_str(&shown);
            out.push('s');
        }
        // Bytes have no letter of their own.
        Unit::Bytes => match Decimal::parse(&format!("{shown}e-3")) {
            Ok(thousands) => {
                out.push_str(&thousands.to_string());
                out.push_str("kb");
            }
            Err(_) => out.push_str(&shown),
        },
    }
}
