//! Merge of what two nodes changed in one holding at the same time.

use super::{ArmedSwitch, Holding};

impl Holding {
    /// Merges two changes of the same holding. `base` is how both found it, `mine` is what the
    /// writer of the next version made of it, and `theirs` is the version that is stored now.
    ///
    /// What either added stays, and what either removed goes. The live accesses are theirs: the
    /// events of the writer are handled again on those.
    #[must_use]
    pub fn merge(base: &Self, mine: Self, theirs: Self) -> Self {
        Self {
            watched: merged(
                &base.watched,
                mine.watched,
                theirs.watched,
                |one, other| one.access == other.access,
                mine_if_changed,
            ),
            orphans: merged(
                &base.orphans,
                mine.orphans,
                theirs.orphans,
                |one, other| one.membership == other.membership,
                mine_if_changed,
            ),
            armed: merged(
                &base.armed,
                mine.armed,
                theirs.armed,
                |one, other| one.membership == other.membership,
                mine_unless_due,
            ),
            quiet_until: theirs.quiet_until.max(mine.quiet_until),
            ..theirs
        }
    }
}

/// Merges two changes of a list. `both` merges an item that both have, given what it was.
fn merged<T>(
    base: &[T],
    mut mine: Vec<T>,
    theirs: Vec<T>,
    is_same: impl Fn(&T, &T) -> bool,
    both: impl Fn(Option<&T>, T, T) -> T,
) -> Vec<T> {
    let mut merged = Vec::new();
    for one in theirs {
        let was = base.iter().find(|was| is_same(was, &one));
        match mine.iter().position(|other| is_same(other, &one)) {
            Some(place) => merged.push(both(was, mine.remove(place), one)),
            None if was.is_none() => merged.push(one),
            None => {}
        }
    }
    let added = mine.into_iter().filter(|one| !base.iter().any(|was| is_same(was, one)));
    merged.extend(added);
    merged
}

/// Keeps the value of this writer if this writer changed it, and else the stored one, which others
/// may have made due.
fn mine_if_changed<T: PartialEq>(was: Option<&T>, mine: T, theirs: T) -> T {
    if was == Some(&mine) { theirs } else { mine }
}

/// Keeps this writer's switch. If others changed when it is due, it is due at the earlier time.
fn mine_unless_due(was: Option<&ArmedSwitch>, mine: ArmedSwitch, theirs: ArmedSwitch) -> ArmedSwitch {
    let made_due = was.is_some_and(|was| was.due != theirs.due);
    let due = if made_due { [mine.due, theirs.due].into_iter().flatten().min() } else { mine.due };
    ArmedSwitch { due, ..mine }
}
