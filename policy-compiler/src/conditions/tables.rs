//! An agent's fields and tests while its rules are lowered: in the order of first use, each once.

use faramesh_core::policy::artifact::{Ask, Field, Op, Step, Test};
use std::collections::HashMap;

/// What conditions read and ask. Calculations name fields by their place here until [`Tables::finish`].
#[derive(Debug, Default)]
pub(crate) struct Tables {
    fields: Vec<Field>,
    field_index: HashMap<Field, u32>,
    tests: Vec<Test>,
    test_index: HashMap<Test, u32>,
}

impl Tables {
    pub(crate) fn test(&self, index: u32) -> Option<(&Field, &Ask)> {
        let test = self.tests.get(index as usize)?;
        Some((self.of(test.field)?, &test.ask))
    }

    pub(crate) fn of(&self, field: u32) -> Option<&Field> {
        self.fields.get(field as usize)
    }

    /// Every field that the test of this index reads: its own, the one that it is compared with, and what either is
    /// calculated from.
    pub(crate) fn read_by(&self, test: u32) -> Vec<&Field> {
        let Some(test) = self.tests.get(test as usize) else {
            return Vec::new();
        };
        let other = match test.ask {
            Ask::CompareField(_, other) => Some(other),
            _ => None,
        };
        let mut read = Vec::new();
        for field in [Some(test.field), other]
            .into_iter()
            .flatten()
            .filter_map(|field| self.of(field))
        {
            match field {
                Field::Calculated(steps) => {
                    read.extend(steps.iter().filter_map(|step| match step {
                        Step::Field(part) => self.of(*part),
                        _ => None,
                    }))
                }
                plain => read.push(plain),
            }
        }
        read
    }

    pub(crate) fn field(&mut self, field: Field) -> u32 {
        intern(&mut self.fields, &mut self.field_index, field)
    }

    pub(crate) fn ask(&mut self, field: u32, ask: Ask) -> Op {
        Op::Test(intern(
            &mut self.tests,
            &mut self.test_index,
            Test { field, ask },
        ))
    }

    /// The tables as an artifact has them: fields sorted, calculations last, tests pointing at their new places.
    pub(crate) fn finish(self) -> (Vec<Field>, Vec<Test>) {
        let (calculated, plain): (Vec<_>, Vec<_>) = (0_u32..)
            .zip(self.fields)
            .partition(|(_, field)| matches!(field, Field::Calculated(_)));
        let mut moved = HashMap::new();
        let mut sorted = Vec::new();
        place(plain, &mut sorted, &mut moved);
        let calculated = calculated
            .into_iter()
            .map(|(old, field)| (old, repointed(field, &moved)))
            .collect();
        place(calculated, &mut sorted, &mut moved);
        let mut tests = self.tests;
        for test in &mut tests {
            test.field = new_place(test.field, &moved);
            if let Ask::CompareField(_, other) = &mut test.ask {
                *other = new_place(*other, &moved);
            }
        }
        (sorted, tests)
    }
}

/// Appends fields in their order and notes where each went.
fn place(mut fields: Vec<(u32, Field)>, sorted: &mut Vec<Field>, moved: &mut HashMap<u32, u32>) {
    fields.sort_by(|(_, a), (_, b)| a.cmp(b));
    for (old, field) in fields {
        let new = u32::try_from(sorted.len()).unwrap_or(u32::MAX);
        moved.insert(old, new);
        sorted.push(field);
    }
}

fn repointed(field: Field, moved: &HashMap<u32, u32>) -> Field {
    match field {
        Field::Calculated(steps) => Field::Calculated(
            steps
                .into_iter()
                .map(|step| match step {
                    Step::Field(part) => Step::Field(new_place(part, moved)),
                    other => other,
                })
                .collect(),
        ),
        plain => plain,
    }
}

fn new_place(field: u32, moved: &HashMap<u32, u32>) -> u32 {
    moved.get(&field).copied().unwrap_or(u32::MAX)
}

fn intern<T: Clone + Eq + std::hash::Hash>(
    list: &mut Vec<T>,
    index: &mut HashMap<T, u32>,
    item: T,
) -> u32 {
    if let Some(known) = index.get(&item) {
        return *known;
    }
    let next = u32::try_from(list.len()).unwrap_or(u32::MAX);
    list.push(item.clone());
    index.insert(item, next);
    next
}
