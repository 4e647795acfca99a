//! The stack machine that pickles are programs for, without calls.

use super::{
    array::Id,
    globals::Global,
    node::{Arena, Node},
};
use bytes::Bytes;
use std::collections::HashMap;

/// The reason why a pickle cannot be read.
#[derive(Debug)]
pub(super) enum Problem {
    /// It refers to this name, which is not on the allow-list.
    Forbidden(String),
    /// It is damaged, or uses operations that plain data does not need.
    Damaged(String),
}

pub(super) fn damaged(problem: impl Into<String>) -> Problem {
    Problem::Damaged(problem.into())
}

/// A problem and the position of the operation that has it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) offset: usize,
    pub(super) problem: Problem,
}

// The objects that every arena begins with: one byte of input must not cost a new object for them.
const NONE: Id = 0;
const TRUE: Id = 1;
const FALSE: Id = 2;
const UNIT: Id = 3;

/// Reader state: input, stack, memo, and the arena of objects.
pub(super) struct Unpickler {
    input: Bytes,
    position: usize,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    nodes: Vec<Node>,
    /// Texts that were already turned into bytes.
    pub(super) encoded: HashMap<Id, Id>,
}

impl Unpickler {
    pub(super) fn new(input: Bytes) -> Unpickler {
        Unpickler {
            input,
            position: 0,
            stack: vec![],
            marks: vec![],
            memo: HashMap::new(),
            nodes: vec![Node::None, Node::Bool(true), Node::Bool(false), Node::Tuple(Box::default())],
            encoded: HashMap::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Arena, Failure> {
        let protocol = self.start().map_err(|problem| Failure { offset: 0, problem })?;
        if !(2..=5).contains(&protocol) {
            let problem = damaged(format!("protocol {protocol}; protocols 2 to 5 are read"));
            return Err(Failure { offset: 0, problem });
        }
        loop {
            let offset = self.position;
            match self.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Arena { nodes: self.nodes, root }),
                Err(problem) => return Err(Failure { offset, problem }),
            }
        }
    }

    fn start(&mut self) -> Result<u8, Problem> {
        match self.input.first() {
            None => Err(damaged("the file is empty")),
            Some(0x80) => {
                self.position = 1;
                self.u8()
            }
            Some(_) => Err(damaged("this is not a pickle of protocol 2 or later")),
        }
    }

    /// One operation; the root object if it was the last one.
    fn step(&mut self) -> Result<Option<Id>, Problem> {
        match self.u8()? {
            // PROTO, FRAME
            0x80 => {
                self.u8()?;
            }
            0x95 => {
                let length = self.length8()?;
                if length > self.input.len() - self.position {
                    return Err(self.truncated());
                }
            }
            // STOP
            b'.' => return self.pop().map(Some),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.stack.push(NONE),
            0x88 => self.stack.push(TRUE),
            0x89 => self.stack.push(FALSE),
            // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'J' => {
                let value = i32::from_le_bytes(self.word()?);
                self.push(Node::Int(value.into()))?;
            }
            b'K' => {
                let value = self.u8()?;
                self.push(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.word()?);
                self.push(Node::Int(value.into()))?;
            }
            0x8a => {
                let length = usize::from(self.u8()?);
                self.long(length)?;
            }
            0x8b => {
                let length = self.length4()?;
                self.long(length)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.word()?);
                self.push(Node::Float(value))?;
            }
            // SHORT_BINSTRING, BINSTRING: text of Python 2, of unknown encoding
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
            b'U' | b'C' => {
                let length = usize::from(self.u8()?);
                self.bytes(length)?;
            }
            b'T' | b'B' => {
                let length = self.length4()?;
                self.bytes(length)?;
            }
            0x8e | 0x96 => {
                let length = self.length8()?;
                self.bytes(length)?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => {
                let length = usize::from(self.u8()?);
                self.unicode(length)?;
            }
            b'X' => {
                let length = self.length4()?;
                self.unicode(length)?;
            }
            0x8d => {
                let length = self.length8()?;
                self.unicode(length)?;
            }
            // EMPTY_LIST, EMPTY_TUPLE, EMPTY_DICT
            b']' => self.push(Node::List(vec![]))?,
            b')' => self.stack.push(UNIT),
            b'}' => self.push(Node::Dict(vec![]))?,
            // LIST, TUPLE, TUPLE1, TUPLE2, TUPLE3, DICT
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items.into()))?;
            }
            length @ 0x85..=0x87 => {
                let mut items = vec![];
                for _ in 0x85..=length {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items.into()))?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                let entries = pairs(&items)?;
                self.push(Node::Dict(entries))?;
            }
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let slot = u32::from(self.u8()?);
                self.memoize(slot)?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.word()?);
                self.memoize(slot)?;
            }
            0x94 => {
                let slot = self.memo.len() as u32;
                self.memoize(slot)?;
            }
            b'h' => {
                let slot = u32::from(self.u8()?);
                self.recall(slot)?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.word()?);
                self.recall(slot)?;
            }
            // GLOBAL, STACK_GLOBAL, and INST, which also names what it would call
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (name, module) = (self.name_part(name)?, self.name_part(module)?);
                self.global(&module, &name)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(Problem::Forbidden(format!("{module}.{name}")));
            }
            // REDUCE, BUILD
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = self.reduce(function, arguments)?;
                self.stack.push(value);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)?;
            }
            other => {
                return Err(damaged(format!(
                    "operation {other:#04x}, which lists, dicts, numbers, texts and numpy arrays do not need"
                )));
            }
        }
        Ok(None)
    }

    // Objects

    pub(super) fn node(&self, id: Id) -> Result<&Node, Problem> {
        self.nodes.get(id as usize).ok_or_else(|| damaged("an object is missing"))
    }

    pub(super) fn push_node(&mut self, node: Node) -> Result<Id, Problem> {
        let id = Id::try_from(self.nodes.len()).map_err(|_| damaged("too many objects"))?;
        self.nodes.push(node);
        Ok(id)
    }

    pub(super) fn replace(&mut self, id: Id, node: Node) -> Result<(), Problem> {
        let slot = self.nodes.get_mut(id as usize).ok_or_else(|| damaged("an object is missing"))?;
        *slot = node;
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), Problem> {
        let id = self.push_node(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, items: &[Id]) -> Result<(), Problem> {
        let list = self.top()?;
        match self.nodes.get_mut(list as usize) {
            Some(Node::List(list)) => list.extend_from_slice(items),
            _ => return Err(damaged("elements for something that is not a list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), Problem> {
        let entries = pairs(items)?;
        let dict = self.top()?;
        match self.nodes.get_mut(dict as usize) {
            Some(Node::Dict(dict)) => dict.extend(entries),
            _ => return Err(damaged("entries for something that is not a dict")),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        match Global::find(module, name) {
            Some(global) => self.push(Node::Global(global)),
            None => Err(Problem::Forbidden(format!("{module}.{name}"))),
        }
    }

    fn name_part(&self, id: Id) -> Result<String, Problem> {
        match self.node(id)? {
            Node::Str(text) => Ok(String::from_utf8_lossy(text).into_owned()),
            _ => Err(damaged("a name that is not a str")),
        }
    }

    // Stack and memo

    /// Height below which objects belong to an open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        if self.stack.len() <= self.floor() {
            return Err(damaged("an operand is missing"));
        }
        self.stack.pop().ok_or_else(|| damaged("an operand is missing"))
    }

    fn top(&self) -> Result<Id, Problem> {
        if self.stack.len() <= self.floor() {
            return Err(damaged("an operand is missing"));
        }
        self.stack.last().copied().ok_or_else(|| damaged("an operand is missing"))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let height = self.marks.pop().ok_or_else(|| damaged("a mark is missing"))?;
        Ok(self.stack.split_off(height.min(self.stack.len())))
    }

    fn memoize(&mut self, slot: u32) -> Result<(), Problem> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), Problem> {
        let id = self.memo.get(&slot).ok_or_else(|| damaged(format!("no object number {slot}")))?;
        self.stack.push(*id);
        Ok(())
    }

    // Input

    fn truncated(&self) -> Problem {
        damaged(format!("the file ends early, after {} bytes", self.input.len()))
    }

    /// The next bytes; shares the memory of the file.
    fn take(&mut self, length: usize) -> Result<Bytes, Problem> {
        let end = self.position.checked_add(length).filter(|&end| end <= self.input.len());
        let end = end.ok_or_else(|| self.truncated())?;
        let bytes = self.input.slice(self.position..end);
        self.position = end;
        Ok(bytes)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.input.get(self.position..).and_then(|rest| rest.first_chunk());
        let word = *bytes.ok_or_else(|| self.truncated())?;
        self.position += N;
        Ok(word)
    }

    fn u8(&mut self) -> Result<u8, Problem> {
        self.word().map(|[byte]| byte)
    }

    fn length4(&mut self) -> Result<usize, Problem> {
        let length = u32::from_le_bytes(self.word()?);
        usize::try_from(length).map_err(|_| self.truncated())
    }

    fn length8(&mut self) -> Result<usize, Problem> {
        let length = u64::from_le_bytes(self.word()?);
        usize::try_from(length).map_err(|_| self.truncated())
    }

    fn line(&mut self) -> Result<String, Problem> {
        let rest = self.input.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.truncated())?;
        let line = self.take(length)?;
        self.position += 1;
        String::from_utf8(line.to_vec()).map_err(|_| damaged("a name that is not UTF-8"))
    }

    fn bytes(&mut self, length: usize) -> Result<(), Problem> {
        let bytes = self.take(length)?;
        self.push(Node::Bytes(bytes))
    }

    fn unicode(&mut self, length: usize) -> Result<(), Problem> {
        let text = self.take(length)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(damaged("a text that is not UTF-8"));
        }
        self.push(Node::Str(text))
    }

    /// A little-endian two's complement integer of `length` bytes.
    fn long(&mut self, length: usize) -> Result<(), Problem> {
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(damaged(format!("an integer of {length} bytes; at most 8 are read")));
        }
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut word = [fill; 8];
        for (slot, byte) in word.iter_mut().zip(bytes) {
            *slot = byte;
        }
        self.push(Node::Int(i64::from_le_bytes(word)))
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Problem> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err(damaged("a key without a value"))
    }
}
