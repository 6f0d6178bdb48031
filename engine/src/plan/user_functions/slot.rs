//! The module of a function, which may be replaced while queries call it.
//!
//! The rule: another module takes the place of one only if it has the same functions, so that plans
//! and states stay what they are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use udfs::{Module, Signature};

use super::{aggregate, find, open, scalar};
use crate::pipeline::Diagnostic;
use crate::pipeline::functions::DraftFunction;

/// A function's place, and what is in it.
pub(crate) struct Slot {
    pub name: String,
    draft: DraftFunction,
    /// All of its overloads, whatever module is there.
    pub signatures: Vec<Signature>,
    current: RwLock<Arc<Current>>,
}

/// A module, and where in it the overloads are, in their order.
pub(crate) struct Current {
    pub module: Arc<Module>,
    pub indices: Vec<usize>,
    /// The last call of constants, and its value or why it has none: the planner asks for the same
    /// many times, and so does each batch where it has none.
    pub constant: Mutex<Option<Constant>>,
}

/// A call whose arguments are the same for all rows.
pub(crate) struct Constant {
    pub overload: usize,
    pub arguments: Vec<ScalarValue>,
    pub value: Result<ScalarValue, String>,
}

impl Current {
    pub fn new(module: Module, indices: Vec<usize>) -> Current {
        Current { module: Arc::new(module), indices, constant: Mutex::default() }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Slot {
    pub fn new(
        name: &str,
        draft: &DraftFunction,
        module: Module,
        found: Vec<(usize, Signature)>,
    ) -> Slot {
        let (indices, signatures) = found.into_iter().unzip();
        let current = Current::new(module, indices);
        Slot {
            name: name.to_owned(),
            draft: draft.clone(),
            signatures,
            current: RwLock::new(Arc::new(current)),
        }
    }

    pub fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn content_hash(&self) -> String {
        self.current().module.info().content_hash.clone()
    }

    pub fn path(&self) -> &Path {
        &self.draft.path
    }

    /// What its file has by now, if that is something else; why it cannot take the place of what
    /// is there, if so. Compiles it.
    pub fn look(&self) -> Result<Option<Current>, String> {
        let told = |mistake: Diagnostic| mistake.message;
        let is_same = std::fs::read(self.path())
            .is_ok_and(|bytes| udfs::content_hash(&bytes) == self.content_hash());
        if is_same {
            return Ok(None);
        }
        let module = open(&self.draft).map_err(told)?;
        let found = find(&self.draft, &module).map_err(told)?;
        let place = |wanted: &Signature| {
            let index = found.iter().find(|(_, signature)| signature == wanted);
            index.map(|(index, _)| *index).ok_or_else(|| {
                let has: Vec<String> = found.iter().map(|(_, of)| of.to_string()).collect();
                let file = &self.draft.file.text;
                format!("{file}: it was {wanted}, and has {} now", has.join(", "))
            })
        };
        let indices = self.signatures.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Some(Current::new(module, indices)))
    }

    pub fn replace(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}

/// The functions of users that queries call, each once.
#[derive(Clone, Debug, Default)]
pub struct Functions(Vec<Arc<Slot>>);

impl Functions {
    pub(crate) fn of(plan: &LogicalPlan) -> Functions {
        let mut functions = Functions::default();
        let visited = plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    functions.extend(called(expr));
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
        });
        debug_assert!(visited.is_ok(), "nothing above fails");
        functions
    }

    pub(crate) fn extend(&mut self, others: impl IntoIterator<Item = Arc<Slot>>) {
        for other in others {
            if !self.0.iter().any(|known| Arc::ptr_eq(known, &other)) {
                self.0.push(other);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.0.iter()
    }

    /// The SHA-256 of each one's module, by its name.
    pub fn content_hashes(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|slot| (slot.name.clone(), slot.content_hash())).collect()
    }
}

/// The function of a user that an expression calls.
fn called(expr: &Expr) -> Option<Arc<Slot>> {
    let aggregate = match expr {
        Expr::ScalarFunction(call) => {
            let function = call.func.inner().downcast_ref::<scalar::Scalar>();
            return function.map(|of| of.0.slot.clone());
        }
        Expr::AggregateFunction(call) => &call.func,
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => function,
            WindowFunctionDefinition::WindowUDF(_) => return None,
        },
        _ => return None,
    };
    let function = aggregate.inner().downcast_ref::<aggregate::Aggregate>();
    function.map(|of| of.0.slot.clone())
}
