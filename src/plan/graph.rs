//! Which stages a stage needs.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::StageId;

/// `user` needs `used`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// The stage with the instruction.
    pub(crate) user: StageId,
    /// The stage it names.
    pub(crate) used: StageId,
}

/// `target` and all stages that it needs, directly or through others.
pub(crate) fn needed(target: StageId, edges: &[Edge]) -> BTreeSet<StageId> {
    let mut uses: BTreeMap<StageId, Vec<StageId>> = BTreeMap::new();
    for edge in edges {
        uses.entry(edge.user).or_default().push(edge.used);
    }
    let mut found = BTreeSet::new();
    let mut open = vec![target];
    while let Some(stage) = open.pop() {
        if found.insert(stage) {
            open.extend(uses.get(&stage).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_target_reaches_is_needed() {
        let edge = |user, used| Edge { user: StageId(user), used: StageId(used) };
        let edges = [edge(1, 0), edge(3, 1), edge(3, 0), edge(4, 2)];
        let list = |target| needed(StageId(target), &edges).into_iter().map(|s| s.0).collect::<Vec<_>>();
        assert_eq!(list(3), [0, 1, 3]);
        assert_eq!(list(4), [2, 4]);
        assert_eq!(list(0), [0]);
    }
}
