//! Examples are run: each is put to the compiled policy, by the core that will decide by it.

use crate::diagnostic::{Diagnostic, Findings, quoted};
use crate::number::Number;
use crate::source::{SourceMap, Span};
use faramesh_core::call;
use faramesh_core::decision::{Code, Decision};
use faramesh_core::identity::{Caller, attest};
use faramesh_core::json::{self, Value};
use faramesh_core::pipeline::{Question, decide};
use faramesh_core::policy::artifact::{AgentPolicy, Artifact, Example, Field};
use faramesh_core::policy::{Policy, Supposed};
use faramesh_core::record::{Door, Time};
use faramesh_core::state::State;
use std::collections::BTreeMap;

/// Where the examples of each agent stand, in their order.
pub(crate) type Places = BTreeMap<String, Vec<Span>>;

/// Puts every example to the policy; one that comes out otherwise is a finding.
pub(crate) fn run(artifact: &Artifact, map: &SourceMap, places: &Places, findings: &mut Findings) {
    if artifact
        .agents
        .iter()
        .all(|agent| agent.examples.is_empty())
    {
        return;
    }
    let policy = match Policy::of(artifact) {
        Ok(policy) => policy,
        Err(why) => {
            let message = format!("the policy cannot be an artifact: {why}");
            findings.push(Diagnostic::new(Number::ArtifactRefused, message));
            return;
        }
    };
    for agent in &artifact.agents {
        let spans = places.get(&agent.name).map_or(&[][..], Vec::as_slice);
        for (index, example) in agent.examples.iter().enumerate() {
            let span = spans.get(index).copied().unwrap_or_default();
            match put(&policy, agent, example) {
                Ok(decision) if comes_out(example, &decision) => {}
                Ok(decision) => findings.push(fails(agent, map, example, &decision, span)),
                Err(why) => findings.push(
                    Diagnostic::new(
                        Number::BadExample,
                        "an example is a call and what comes out",
                    )
                    .at(span, why),
                ),
            }
        }
    }
}

fn put(policy: &Policy, agent: &AgentPolicy, example: &Example) -> Result<Decision, String> {
    let call = call::accept(&example.tool, &agent.name, example.arguments.as_bytes())
        .map_err(|why| why.to_string())?;
    // No user of this machine: nothing rests on who compiles.
    let attested =
        attest(call, Caller::Unattested { uid: u32::MAX }).map_err(|why| why.to_string())?;
    let given = example.given.iter().map(|(field, text)| {
        let value = json::parse(text.as_bytes()).map_err(|why| why.to_string())?;
        Ok((field.clone(), value))
    });
    let mut supposed = Supposed::first_call(agent);
    supposed.extend(given.collect::<Result<Vec<_>, String>>()?);
    // Nobody compiles at a certain time: a clock that the example does not set is not known.
    for field in &agent.fields {
        if matches!(field, Field::Time(_)) && supposed.get(field).is_none() {
            supposed.suppose(field.clone(), Value::Null);
        }
    }
    // What a host can enforce is no matter of the rules: what the policy requires holds, unless the example says not.
    for layer in &agent.demands {
        let field = Field::Enforcement(layer.clone());
        if supposed.get(&field).is_none() {
            supposed.suppose(field, Value::Bool(true));
        }
    }
    let question = Question {
        attested: &attested,
        door: Door::Govern,
        now: Time {
            wall_ms: 0,
            boot_ms: 0,
        },
        supposed: &supposed,
    };
    Ok(decide(&question, policy, &State::new()))
}

/// In shadow mode too, an example says what enforcing would answer.
fn comes_out(example: &Example, decision: &Decision) -> bool {
    let effect = decision.would.unwrap_or(decision.effect);
    let code = decision.code.map(|code| code.as_str());
    effect == example.effect
        && example
            .code
            .as_deref()
            .is_none_or(|wanted| code == Some(wanted))
}

fn fails(
    agent: &AgentPolicy,
    map: &SourceMap,
    example: &Example,
    decision: &Decision,
    span: Span,
) -> Diagnostic {
    let shown = |effect: &str, code: Option<&str>| match code {
        Some(code) => format!("{effect} with code {code}"),
        None => effect.to_string(),
    };
    let expected = shown(example.effect.as_str(), example.code.as_deref());
    let effect = decision.would.unwrap_or(decision.effect);
    let found = shown(effect.as_str(), decision.code.map(|code| code.as_str()));
    let rule = decision.rule.and_then(|index| {
        let rule = agent.rules.get(index as usize)?;
        let line = map.agents.get(&agent.name)?.get(index as usize)?;
        Some(format!("line {line} decides: {}", quoted(&rule.text)))
    });
    // The message of a plain verdict says again what the rule's line says.
    let told = rule.is_some() && decision.code != Some(Code::Indeterminate);
    let finding = Diagnostic::new(Number::ExampleFails, "this example comes out otherwise")
        .at(span, format!("expected {expected}, found {found}"));
    let finding = rule.into_iter().fold(finding, Diagnostic::note);
    let finding = match told {
        true => finding,
        false => finding.note(decision.message.clone()),
    };
    let unsaid = decision
        .missing
        .iter()
        .find(|name| !name.starts_with("args."));
    match unsaid {
        Some(name) => finding
            .note(format!("nothing is known here of {}", quoted(name)))
            .help(format!(
                "say what it is, as in `given {{ {name}: … }}`, or mend the rule"
            )),
        None => finding.help("mend the rule, or the example"),
    }
}
