//! Following symbolic links inside a root, whatever the root is made of.

use super::{ImagePath, TreeError};

/// As many links as Linux follows in one path (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;

/// `path` without links in it, as a process in a chroot would find it; `follow_last` also follows a link at
/// the path itself. `link_at` answers where the link at a path leads, `None` when no link is there. What does
/// not exist is taken as written.
pub(crate) fn follow<'a>(
    path: &ImagePath,
    follow_last: bool,
    link_at: impl Fn(&ImagePath) -> Option<&'a [u8]>,
) -> Result<ImagePath, TreeError> {
    let mut links = 0;
    let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    todo.reverse();
    let mut done = ImagePath::root();
    while let Some(component) = todo.pop() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done = done.parent().unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let next = done.child(&component);
        match link_at(&next).filter(|_| follow_last || !todo.is_empty()) {
            Some(target) => {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(TreeError::Loop(path.clone()));
                }
                if target.first() == Some(&b'/') {
                    done = ImagePath::root();
                }
                todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
            }
            None => done = next,
        }
    }
    Ok(done)
}
