//! Reads Python pickles, protocols 2 to 5, as data only. Nothing in the file is ever executed.
//!
//! A pickle is a program for a stack machine that may call any importable function. This unpickler
//! makes no calls: it recognises the six names that numpy arrays and byte strings need and interprets
//! them itself; every other name is an error. Objects live in an arena and refer to each other
//! by number, so that shared, cyclic and deeply nested objects cost one entry each: memory stays
//! proportional to the size of the file.

mod array;
mod calls;
mod globals;
mod node;
mod unpickler;

pub(crate) use array::gather_fortran;
pub use array::{DType, DTypeKind, PickleArray};

use crate::{Error, FileFormat};
use array::{ArrayData, Id};
use bytes::Bytes;
use node::{Arena, Node};
use std::path::Path;
use unpickler::{Problem, Unpickler};

/// A pickle that was read completely.
#[derive(Debug)]
pub struct Pickle {
    arena: Arena,
}

impl Pickle {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or holds something that is not plain data.
    pub fn open(path: &Path) -> Result<Pickle, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Pickle::from_bytes(bytes.into(), path)
    }

    /// Reads a pickle from memory; `path` names it in messages.
    ///
    /// # Errors
    /// As [`Pickle::open`].
    pub fn from_bytes(bytes: Bytes, path: &Path) -> Result<Pickle, Error> {
        let arena = Unpickler::new(bytes).run().map_err(|failure| {
            let offset = failure.offset;
            match failure.problem {
                Problem::Forbidden(global) => {
                    Error::ForbiddenGlobal { path: path.to_owned(), offset, global }
                }
                Problem::Damaged(problem) => {
                    let problem = format!("at byte {offset} of the pickle: {problem}");
                    Error::invalid(FileFormat::Pickle, path, problem)
                }
            }
        })?;
        Ok(Pickle { arena })
    }

    /// The pickled object.
    pub fn root(&self) -> Value<'_> {
        Value { arena: &self.arena, id: self.arena.root }
    }
}

/// An object of a pickle.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    arena: &'a Arena,
    id: Id,
}

impl<'a> Value<'a> {
    fn node(self) -> &'a Node {
        self.arena.node(self.id)
    }

    fn at(self, id: Id) -> Value<'a> {
        Value { arena: self.arena, id }
    }

    /// What the object is, for messages.
    pub fn kind(self) -> String {
        match self.node() {
            Node::None => "None".into(),
            Node::Bool(_) => "a bool".into(),
            Node::Int(_) => "an int".into(),
            Node::Float(_) => "a float".into(),
            Node::Str(_) => "a str".into(),
            Node::Bytes(_) => "bytes".into(),
            Node::List(items) => format!("a list of {}", items.len()),
            Node::Tuple(items) => format!("a tuple of {}", items.len()),
            Node::Dict(_) => "a dict".into(),
            Node::Global(global) => format!("the name {global:?}"),
            Node::DType(_) => "a dtype".into(),
            Node::Array(array) => format!("an array of {} of shape {:?}", array.dtype(), array.shape()),
        }
    }

    /// Whether the object is `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// A bool.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An int.
    pub fn as_i64(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A float or an int.
    pub fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Int(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A str, or bytes that are UTF-8 (strings of Python 2).
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Str(text) | Node::Bytes(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Bytes.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(self) -> Option<&'a PickleArray> {
        match self.node() {
            Node::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The elements of a list, a tuple or a one-dimensional object array.
    pub fn items(self) -> Option<impl ExactSizeIterator<Item = Value<'a>>> {
        let ids: &'a [Id] = match self.node() {
            Node::List(ids) => ids,
            Node::Tuple(ids) => ids,
            Node::Array(array) if array.shape().len() == 1 => match array.data {
                ArrayData::Objects(list) => match self.arena.node(list) {
                    Node::List(ids) => ids,
                    _ => return None,
                },
                ArrayData::Raw(_) => return None,
            },
            _ => return None,
        };
        Some(ids.iter().map(move |&id| self.at(id)))
    }

    /// The object that an object array without axes holds, which is how numpy saves a dict.
    pub fn only(self) -> Option<Value<'a>> {
        let Node::Array(array) = self.node() else { return None };
        let ArrayData::Objects(list) = array.data else { return None };
        match (array.shape(), self.arena.node(list)) {
            ([], Node::List(ids)) => ids.first().map(|&id| self.at(id)),
            _ => None,
        }
    }

    /// The value of a key of a dict; as in Python the last one counts if a key was set twice.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        match self.node() {
            Node::Dict(entries) => entries
                .iter()
                .rev()
                .find(|(name, _)| self.at(*name).as_str() == Some(key))
                .map(|&(_, value)| self.at(value)),
            _ => None,
        }
    }

    /// The textual keys of a dict, in the order of their first setting.
    pub fn keys(self) -> Option<Vec<&'a str>> {
        match self.node() {
            Node::Dict(entries) => {
                let mut seen = std::collections::HashSet::new();
                let names = entries.iter().filter_map(|&(name, _)| self.at(name).as_str());
                Some(names.filter(|&name| seen.insert(name)).collect())
            }
            _ => None,
        }
    }

    /// The numbers of a one-dimensional numeric array, or of a list or tuple of numbers.
    pub fn numbers(self) -> Option<Vec<f64>> {
        match self.as_array() {
            Some(array) if array.shape().len() == 1 && array.dtype().kind() != DTypeKind::Object => {
                array.to_f64()
            }
            _ => self.items()?.map(Value::as_f64).collect(),
        }
    }

    /// The integers of a one-dimensional numeric array, or of a list or tuple of integers: `Err` is the
    /// position of the first element that is not an integer.
    pub fn integers(self) -> Option<Result<Vec<i64>, usize>> {
        match self.as_array() {
            Some(array) if array.shape().len() == 1 && array.dtype().kind() != DTypeKind::Object => {
                array.to_i64()
            }
            _ => {
                let integer = |item: Value<'_>| match item.as_f64() {
                    _ if item.as_i64().is_some() => item.as_i64(),
                    // A scalar of numpy is kept as a double.
                    Some(value) if value.fract() == 0.0 && value.abs() < 2f64.powi(53) => Some(value as i64),
                    _ => None,
                };
                Some(self.items()?.enumerate().map(|(at, item)| integer(item).ok_or(at)).collect())
            }
        }
    }

    /// The texts of a one-dimensional array of text, or of a list, tuple or object array of str.
    pub fn texts(self) -> Option<Vec<String>> {
        match self.as_array() {
            Some(array) if array.shape().len() == 1 && array.dtype().kind() != DTypeKind::Object => {
                array.to_texts()
            }
            _ => self.items()?.map(|item| item.as_str().map(str::to_owned)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
