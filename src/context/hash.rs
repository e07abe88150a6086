//! Content hashes of files, read once.

use std::io::{self, Read};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::ctx::{Cancelled, Ctx};
use crate::tree::{Content, ContentHash, ImagePath, Kind, Tree};

/// A file that could not be hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// It could not be read, or changed meanwhile.
    #[error("read {path}: {source}")]
    Read {
        /// In its tree.
        path: ImagePath,
        /// Why not.
        source: io::Error,
    },
    /// The build was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Read into memory at a time, by each thread.
const BLOCK: usize = 128 << 10;

/// Hash the files of `tree` whose hashes are not known yet. `threads` read at a time; each holds one block.
pub(crate) fn hash_files(ctx: &Ctx, tree: &mut Tree, threads: NonZero<usize>) -> Result<(), HashError> {
    let open: Vec<(ImagePath, Content, u64)> = tree
        .iter()
        .filter(|(_, node)| node.hash.is_none())
        .filter_map(|(path, node)| match (&node.entry.kind, &node.content) {
            (Kind::File { size }, Some(content)) => Some((path.clone(), content.clone(), *size)),
            _ => None,
        })
        .collect();
    let hashes = hash_contents(ctx, &open, threads)?;
    for ((path, ..), hash) in open.iter().zip(hashes) {
        if let Some(node) = tree.get_mut(path) {
            node.hash = Some(hash);
        }
    }
    Ok(())
}

/// The hashes of `files`, each with the size that it must have, in their order.
fn hash_contents(
    ctx: &Ctx,
    files: &[(ImagePath, Content, u64)],
    threads: NonZero<usize>,
) -> Result<Vec<ContentHash>, HashError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<ContentHash, HashError>)>> = Mutex::new(Vec::new());
    let work = || {
        let mut block = vec![0; BLOCK];
        let mut own = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, content, size)) = files.get(index) else { break };
            let result = hash_one(ctx, path, content, *size, &mut block);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            own.push((index, result));
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    // A thread for a few files would cost more than they do.
    let threads = threads.get().min(files.len() / 16 + 1);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // In order, so that of several errors the same one is told each time it can be.
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn hash_one(
    ctx: &Ctx,
    path: &ImagePath,
    content: &Content,
    size: u64,
    block: &mut [u8],
) -> Result<ContentHash, HashError> {
    let error = |source| HashError::Read { path: path.clone(), source };
    let mut file = content.open().map_err(error)?;
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    loop {
        ctx.check()?;
        match file.read(block) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&block[..count]);
                length += count as u64;
            }
            Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
            Err(other) => return Err(error(other)),
        }
    }
    if length != size {
        let problem = format!("it has {length} bytes and not {size}: it changed while it was read");
        return Err(error(io::Error::other(problem)));
    }
    Ok(ContentHash(*hasher.finalize().as_bytes()))
}
