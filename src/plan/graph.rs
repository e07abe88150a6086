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

/// `targets` and all stages that they need, directly or through others.
pub(crate) fn needed(targets: impl IntoIterator<Item = StageId>, edges: &[Edge]) -> BTreeSet<StageId> {
    let mut uses: BTreeMap<StageId, Vec<StageId>> = BTreeMap::new();
    for edge in edges {
        uses.entry(edge.user).or_default().push(edge.used);
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<StageId> = targets.into_iter().collect();
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
        let list = |targets: &[usize]| {
            let found = needed(targets.iter().copied().map(StageId), &edges);
            found.into_iter().map(|stage| stage.0).collect::<Vec<_>>()
        };
        assert_eq!(list(&[3]), [0, 1, 3]);
        assert_eq!(list(&[4]), [2, 4]);
        assert_eq!(list(&[0]), [0]);
        assert_eq!(list(&[0, 4]), [0, 2, 4]);
    }
}
