//! A disk in memory: what it may hold after a crash, by the history that the fault hook wrote down. What a completed sync
//! covers is there: a file's bytes and size by a sync of the file, names by a sync of their directory. Of the rest any
//! part may be there: each name, each write, each store into a mapping for itself, in pieces, or only as the size that
//! it gave the file. After a failed sync what it should have covered may be lost for good, whatever later syncs say.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use seglog::faults::{Event, FileId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

/// What a change is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    File(FileId),
    Dir(FileId),
}

/// One change, which a crash leaves there or not.
#[derive(Debug, Clone)]
enum Change {
    /// Bytes of a file: a pwrite, or a store into a mapping.
    Data { file: FileId, at: usize, bytes: Rc<[u8]> },
    /// The file has at least this size.
    Size { file: FileId, bytes: usize },
    /// A range is zeros.
    Zero { file: FileId, at: usize, len: usize },
    /// A name in a directory is this file's, or nobody's.
    Name { dir: FileId, name: String, node: Option<FileId> },
    /// A file's name changes, in one step.
    Rename { from: (FileId, String), to: (FileId, String), node: FileId },
}

impl Change {
    fn object(&self) -> Object {
        match self {
            Self::Data { file, .. } | Self::Size { file, .. } | Self::Zero { file, .. } => Object::File(*file),
            Self::Name { dir, .. } => Object::Dir(*dir),
            Self::Rename { from, .. } => Object::Dir(from.0),
        }
    }
}

/// What is sure of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Durable,
    /// Not yet durable.
    Open,
    /// A sync that should have covered it failed.
    Doubtful,
}

#[derive(Debug, Clone)]
struct Pending {
    change: Change,
    standing: Standing,
    /// Its place in the history.
    n: usize,
}

/// What becomes of one change in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    There,
    Lost,
    /// Of its pieces of so many bytes (they begin at multiples of that in the file), those whose bit is set, counted
    /// round.
    Torn {
        piece: usize,
        bits: u64,
    },
    /// The file got its size, and zeros.
    SizeOnly,
    /// The file got its size; what lies behind the old end is junk.
    Junk,
}

/// What a change is of use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Names, stores, START.
    Core,
    /// The ring and the control page.
    Live,
    /// An index.
    Index,
}

/// Names and bytes.
#[derive(Debug, Clone, Default)]
struct Tree {
    files: BTreeMap<FileId, Rc<Vec<u8>>>,
    dirs: BTreeMap<FileId, BTreeMap<String, FileId>>,
}

/// The files of a log's directory, by name; those in its folders as `lost/NAME` and the like. `None` if the directory is not
/// there. A folder without a file is as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State(pub(crate) Option<BTreeMap<String, Rc<Vec<u8>>>>);

/// A disk, and what was done to it.
#[derive(Clone)]
pub(crate) struct Disk {
    durable: Tree,
    /// Names as the running system sees them.
    seen: Tree,
    pending: Vec<Pending>,
    /// The directory that the log's directory is in, and its name there.
    place: (FileId, String),
    roles: BTreeMap<FileId, Role>,
    events: usize,
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Tree {
    fn file(&mut self, file: FileId) -> &mut Vec<u8> {
        Rc::make_mut(self.files.entry(file).or_default())
    }

    fn apply(&mut self, change: &Change, fate: Fate) {
        match change {
            Change::Name { dir, name, node } => {
                let dir = self.dirs.entry(*dir).or_default();
                match node {
                    Some(node) => dir.insert(name.clone(), *node),
                    None => dir.remove(name),
                };
            }
            Change::Rename { from, to, node } => {
                let old = self.dirs.entry(from.0).or_default();
                if old.get(&from.1) == Some(node) {
                    old.remove(&from.1);
                }
                self.dirs.entry(to.0).or_default().insert(to.1.clone(), *node);
            }
            Change::Size { file, bytes } => {
                let file = self.file(*file);
                file.resize(file.len().max(*bytes), 0);
            }
            Change::Zero { file, at, len } => {
                let file = self.file(*file);
                let (at, end) = ((*at).min(file.len()), (at + len).min(file.len()));
                file[at..end].fill(0);
            }
            Change::Data { file, at, bytes } => {
                let file = self.file(*file);
                let end = at + bytes.len();
                match fate {
                    Fate::Torn { piece, bits } => {
                        let mut from = *at;
                        while from < end {
                            let number = from / piece;
                            let to = ((number + 1) * piece).min(end);
                            if bits >> (number % 64) & 1 == 1 {
                                write(file, from, &bytes[from - at..to - at]);
                            }
                            from = to;
                        }
                    }
                    Fate::SizeOnly | Fate::Junk => {
                        let old = file.len();
                        file.resize(old.max(end), 0);
                        if fate == Fate::Junk {
                            for (n, byte) in file[old..].iter_mut().enumerate() {
                                *byte = u8::try_from((n * 167 + 13) % 251).unwrap();
                            }
                        }
                    }
                    Fate::There | Fate::Lost => write(file, *at, bytes),
                }
            }
        }
    }
}

fn role_of(name: &str) -> Role {
    if name.contains("LIVE") {
        Role::Live
    } else if name.contains("index") {
        Role::Index
    } else {
        Role::Core
    }
}

impl Disk {
    /// A disk that holds what this directory and those in it hold now, all of it durable; nothing if it is missing.
    pub(crate) fn of(dir: &Path) -> Self {
        fn take(dir: &Path, into: &mut Tree, roles: &mut BTreeMap<FileId, Role>) -> FileId {
            let id = FileId(fs::metadata(dir).unwrap().ino());
            let mut names = BTreeMap::new();
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                let node = if entry.file_type().unwrap().is_dir() {
                    take(&entry.path(), into, roles)
                } else {
                    let file = FileId(entry.metadata().unwrap().ino());
                    into.files.insert(file, Rc::new(fs::read(entry.path()).unwrap()));
                    roles.insert(file, role_of(&name));
                    file
                };
                names.insert(name, node);
            }
            into.dirs.insert(id, names);
            id
        }
        let mut disk = Self {
            durable: Tree::default(),
            seen: Tree::default(),
            pending: Vec::new(),
            place: (
                FileId(fs::metadata(dir.parent().unwrap()).unwrap().ino()),
                dir.file_name().unwrap().to_str().unwrap().to_owned(),
            ),
            roles: BTreeMap::new(),
            events: 0,
        };
        let parent = disk.durable.dirs.entry(disk.place.0).or_default();
        if dir.exists() {
            let mut tree = Tree::default();
            let id = take(dir, &mut tree, &mut disk.roles);
            parent.insert(disk.place.1.clone(), id);
            disk.durable.files = tree.files;
            disk.durable.dirs.extend(tree.dirs);
        }
        disk.seen.dirs.clone_from(&disk.durable.dirs);
        disk
    }

    /// What happened next.
    pub(crate) fn take(&mut self, event: &Event) {
        let n = self.events;
        self.events += 1;
        match event {
            Event::Create { dir, name, file } => {
                let there = self.seen.dirs.entry(*dir).or_default().get(name) == Some(file);
                if !there {
                    self.roles.insert(*file, role_of(name));
                    self.add(n, Change::Name { dir: *dir, name: name.clone(), node: Some(*file) });
                }
            }
            Event::MakeDir { dir, name, made } => {
                self.durable.dirs.entry(*made).or_default();
                self.add(n, Change::Name { dir: *dir, name: name.clone(), node: Some(*made) });
            }
            Event::Rename { dir, name, to_dir, to_name } => {
                let node = self.seen.dirs.get(dir).and_then(|names| names.get(name)).copied();
                let node = node.unwrap_or_else(|| panic!("{name} is renamed, and is not there"));
                let (from, to) = ((*dir, name.clone()), (*to_dir, to_name.clone()));
                self.add(n, Change::Rename { from, to, node });
            }
            Event::Unlink { dir, name } | Event::RemoveDir { dir, name } => {
                self.add(n, Change::Name { dir: *dir, name: name.clone(), node: None });
            }
            Event::Write { file, at, bytes } | Event::Store { file, at, bytes } => {
                self.add(n, Change::Data { file: *file, at: place(*at), bytes: bytes.as_slice().into() });
            }
            Event::Allocate { file, at, len } => {
                self.add(n, Change::Size { file: *file, bytes: place(at + len) });
            }
            Event::SetLen { file, bytes } => self.add(n, Change::Size { file: *file, bytes: place(*bytes) }),
            Event::Punch { file, at, len } => {
                self.add(n, Change::Zero { file: *file, at: place(*at), len: place(*len) });
            }
            Event::SyncFile { file, began, ok } => self.synced(Some(Object::File(*file)), *began, *ok),
            // It makes nothing durable; but the kernel may tell its failure only once.
            Event::WriteBack { ok: true, .. } | Event::Acknowledged(_) | Event::Issued(_) | Event::Said(_) => {}
            Event::WriteBack { file, began, ok: false } => self.synced(Some(Object::File(*file)), *began, false),
            Event::SyncDir { dir, began, ok } => self.synced(dir.map(Object::Dir), *began, *ok),
        }
    }

    fn add(&mut self, n: usize, change: Change) {
        if matches!(change, Change::Name { .. } | Change::Rename { .. }) {
            self.seen.apply(&change, Fate::There);
        }
        self.pending.push(Pending { change, standing: Standing::Open, n });
    }

    fn synced(&mut self, object: Option<Object>, began: usize, ok: bool) {
        let covered = |pending: &&mut Pending| object.is_none_or(|object| pending.change.object() == object);
        for pending in self.pending.iter_mut().filter(covered) {
            if ok && pending.n < began && pending.standing == Standing::Open {
                pending.standing = Standing::Durable;
            } else if !ok && pending.standing == Standing::Open && matches!(object, Some(Object::File(_))) {
                // Names are not lost so: a file system that cannot commit them takes no more changes.
                pending.standing = Standing::Doubtful;
            }
        }
        // What is durable and lies over nothing that is not is part of what is durable.
        let mut blocked = BTreeSet::new();
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let object = pending.change.object();
            if pending.standing == Standing::Durable && !blocked.contains(&object) {
                durable.apply(&pending.change, Fate::There);
                return false;
            }
            blocked.insert(object);
            true
        });
    }

    /// How many changes a crash now may leave there or not, by what they are of use for, in their order.
    pub(crate) fn open(&self) -> Vec<Role> {
        self.pending
            .iter()
            .filter(|pending| pending.standing != Standing::Durable)
            .map(|pending| match pending.change.object() {
                Object::File(file) => self.roles.get(&file).copied().unwrap_or(Role::Core),
                Object::Dir(_) => Role::Core,
            })
            .collect()
    }

    /// What the disk holds when these are the fates of the open changes.
    pub(crate) fn after(&self, fates: &[Fate]) -> State {
        fn collect(tree: &Tree, dir: FileId, prefix: &str, files: &mut BTreeMap<String, Rc<Vec<u8>>>) {
            for (name, node) in tree.dirs.get(&dir).into_iter().flatten() {
                if tree.dirs.contains_key(node) {
                    collect(tree, *node, &format!("{prefix}{name}/"), files);
                } else {
                    // A file that has a name and nothing else is empty.
                    files.insert(format!("{prefix}{name}"), tree.files.get(node).cloned().unwrap_or_default());
                }
            }
        }
        let mut tree = Tree { files: self.durable.files.clone(), dirs: self.durable.dirs.clone() };
        let mut fates = fates.iter().copied();
        for pending in &self.pending {
            let fate = if pending.standing == Standing::Durable { Fate::There } else { fates.next().unwrap() };
            if fate != Fate::Lost {
                tree.apply(&pending.change, fate);
            }
        }
        let mut files = BTreeMap::new();
        let Some(root) = tree.dirs.get(&self.place.0).and_then(|names| names.get(&self.place.1)) else {
            return State(None);
        };
        collect(&tree, *root, "", &mut files);
        State(Some(files))
    }

    /// What the running system sees: all that was done.
    pub(crate) fn now(&self) -> State {
        self.after(&vec![Fate::There; self.open().len()])
    }

    /// What is sure, and nothing else.
    pub(crate) fn least(&self) -> State {
        self.after(&vec![Fate::Lost; self.open().len()])
    }

    /// The open changes in words, for a failure.
    pub(crate) fn describe(&self, fates: &[Fate]) -> String {
        let mut text = String::new();
        let open = self.pending.iter().filter(|pending| pending.standing != Standing::Durable);
        for (pending, fate) in open.zip(fates) {
            let what = match &pending.change {
                Change::Data { file, at, bytes } => {
                    format!("{} at {at}, {} bytes", self.name_of(*file), bytes.len())
                }
                Change::Size { file, bytes } => format!("{} has {bytes} bytes", self.name_of(*file)),
                Change::Zero { file, at, len } => format!("{} at {at}, {len} zeros", self.name_of(*file)),
                Change::Name { name, node, .. } => {
                    format!("{name} is {}", if node.is_some() { "made" } else { "gone" })
                }
                Change::Rename { from, to, .. } => format!("{} becomes {}", from.1, to.1),
            };
            let _ = writeln!(text, "  {:4} {what}: {fate:?}, {:?}", pending.n, pending.standing);
        }
        text
    }

    fn name_of(&self, file: FileId) -> String {
        let names = self.seen.dirs.values().flatten();
        names.filter(|(_, node)| **node == file).map(|(name, _)| name.clone()).next().unwrap_or("unnamed".to_owned())
    }
}

impl State {
    /// A number for what it holds; another one for anything else.
    pub(crate) fn hash(&self) -> u64 {
        fn mix(hash: u64, word: u64) -> u64 {
            let wide = u128::from(hash ^ word) * 0x9E37_79B9_7F4A_7C15;
            (wide >> 64) as u64 ^ wide as u64
        }
        fn bytes(mut hash: u64, bytes: &[u8]) -> u64 {
            let (words, rest) = bytes.as_chunks::<8>();
            for word in words {
                hash = mix(hash, u64::from_le_bytes(*word)).wrapping_add(0x2545_F491_4F6C_DD1D);
            }
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
        }
        let Some(files) = &self.0 else { return 1 };
        files.iter().fold(2, |hash, (name, file)| bytes(bytes(hash, name.as_bytes()), file))
    }

    /// Makes a directory (which may be there, from another state) hold exactly this. A control page that was this boot's
    /// and this file's stays so: its device and inode become those of the file that is written here.
    pub(crate) fn put(&self, dir: &Path, live_was: Option<(u64, u64)>) {
        let Some(files) = &self.0 else {
            let _ = fs::remove_dir_all(dir);
            return;
        };
        match fs::read_dir(dir) {
            Err(_) => fs::create_dir(dir).unwrap(),
            Ok(entries) => {
                for entry in entries.map(Result::unwrap) {
                    let name = entry.file_name();
                    if entry.file_type().unwrap().is_dir() {
                        fs::remove_dir_all(entry.path()).unwrap();
                    } else if !files.contains_key(name.to_str().unwrap()) {
                        fs::remove_file(entry.path()).unwrap();
                    }
                }
            }
        }
        for (name, bytes) in files {
            let path = dir.join(name);
            if name.contains('/') {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            fs::write(&path, bytes.as_slice()).unwrap();
            if name == "LIVE"
                && let Some(was) = live_was
            {
                keep_identity(&path, bytes, was);
            }
        }
    }
}

/// What the control page says of the file that it is in: its device and inode.
pub(crate) fn identity(live: &Path) -> (u64, u64) {
    let meta = fs::metadata(live).unwrap();
    (meta.dev(), meta.ino())
}

fn keep_identity(path: &Path, bytes: &[u8], was: (u64, u64)) {
    use super::format::crc;
    let word = |at: usize| bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let whole = bytes.len() >= 72 && word(64) == Some(u64::from(crc(&bytes[..64])));
    if whole && (word(48), word(56)) == (Some(was.0), Some(was.1)) {
        let (device, inode) = identity(path);
        let mut page = bytes[..72].to_vec();
        page[48..56].copy_from_slice(&device.to_le_bytes());
        page[56..64].copy_from_slice(&inode.to_le_bytes());
        let sum = u64::from(crc(&page[..64]));
        page[64..72].copy_from_slice(&sum.to_le_bytes());
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &page, 0).unwrap();
    }
}
