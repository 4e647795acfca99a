//! What the calls of allowed names mean as data.

use super::{
    array::{ArrayData, DType, DTypeKind, Id, PickleArray},
    globals::Global,
    node::Node,
    unpickler::{Problem, Unpickler, damaged},
};
use bytes::Bytes;

/// Bytes of the longest name or scalar. Calls can be repeated at a cost of few bytes, so what one
/// call copies must be small, or a small file could fill the memory.
const LONGEST_NAME: usize = 64;

/// Axes of an array, as in numpy.
const MOST_AXES: usize = 32;

impl Unpickler {
    /// What `function(*arguments)` is as data.
    pub(super) fn reduce(&mut self, function: Id, arguments: Id) -> Result<Id, Problem> {
        let Node::Global(global) = *self.node(function)? else {
            return Err(damaged("a call of something that is not a name"));
        };
        let Node::Tuple(arguments) = self.node(arguments)? else {
            return Err(damaged("arguments of a call are not a tuple"));
        };
        let arguments: Vec<Id> = arguments.to_vec();
        match (global, arguments.as_slice()) {
            (Global::Reconstruct, &[class, _, _])
                if matches!(self.node(class)?, Node::Global(Global::NdArray)) =>
            {
                let empty = PickleArray {
                    shape: vec![0],
                    dtype: DType::parse("u1").ok_or_else(|| damaged("no element type"))?,
                    fortran: false,
                    data: ArrayData::Raw(Bytes::new()),
                };
                self.push_node(Node::Array(Box::new(empty)))
            }
            (Global::DType, &[code, ..]) => {
                let code = self.name(code)?;
                let dtype = DType::parse(code)
                    .ok_or_else(|| damaged(format!("element type `{code}` is not supported")))?;
                self.push_node(Node::DType(dtype))
            }
            (Global::Scalar, &[dtype, data]) => {
                let dtype = self.dtype(dtype)?;
                if dtype.size() > LONGEST_NAME {
                    return Err(damaged(format!("a scalar of {} bytes", dtype.size())));
                }
                let array = self.array(vec![], dtype, false, data)?;
                let node = match dtype.kind() {
                    DTypeKind::Unicode | DTypeKind::Bytes => array
                        .to_texts()
                        .and_then(|texts| texts.into_iter().next())
                        .map(|text| Node::Str(text.into())),
                    DTypeKind::Bool => Some(Node::Bool(array.to_f64() == Some(vec![1.0]))),
                    _ => array.to_f64().and_then(|numbers| numbers.first().copied()).map(Node::Float),
                };
                self.push_node(node.ok_or_else(|| damaged("a scalar without a value"))?)
            }
            (Global::FromBuffer, &[data, dtype, shape, order]) => {
                let (dtype, shape) = (self.dtype(dtype)?, self.shape(shape)?);
                let fortran = match self.name(order)? {
                    "C" => false,
                    "F" => true,
                    other => return Err(damaged(format!("unknown memory order `{other}`"))),
                };
                let array = self.array(shape, dtype, fortran, data)?;
                self.push_node(Node::Array(Box::new(array)))
            }
            (Global::Encode, &[text, encoding]) => {
                if !matches!(self.name(encoding)?, "latin1" | "latin-1") {
                    return Err(damaged("bytes in another encoding than latin-1"));
                }
                self.encode_latin1(text)
            }
            _ => Err(damaged(format!("a call of {global:?} with {} arguments", arguments.len()))),
        }
    }

    /// Sets the state of an array or an element type.
    pub(super) fn build(&mut self, object: Id, state: Id) -> Result<(), Problem> {
        let Node::Tuple(state) = self.node(state)? else {
            return Err(damaged("the state of an object is not a tuple"));
        };
        let state: Vec<Id> = state.to_vec();
        let built = match (self.node(object)?, state.as_slice()) {
            (Node::Array(_), &[_version, shape, dtype, fortran, data]) => {
                let (shape, dtype) = (self.shape(shape)?, self.dtype(dtype)?);
                let fortran = match *self.node(fortran)? {
                    Node::Bool(value) => value,
                    Node::Int(value) => value != 0,
                    _ => return Err(damaged("the order flag of an array is not a bool")),
                };
                Node::Array(Box::new(self.array(shape, dtype, fortran, data)?))
            }
            (&Node::DType(dtype), &[_version, order, subtype, names, fields, ..]) => {
                for part in [subtype, names, fields] {
                    if !matches!(self.node(part)?, Node::None) {
                        return Err(damaged("structured element types are not supported"));
                    }
                }
                let order = self.name(order)?;
                let dtype = dtype
                    .with_order(order)
                    .ok_or_else(|| damaged(format!("unknown byte order `{order}`")))?;
                Node::DType(dtype)
            }
            _ => return Err(damaged("a state for an object that is neither array nor element type")),
        };
        self.replace(object, built)
    }

    /// Bytes that were written as text with the code points 0 to 255. The result is remembered per
    /// text, so that a small file cannot ask for many copies of a long text.
    fn encode_latin1(&mut self, text: Id) -> Result<Id, Problem> {
        if let Some(&known) = self.encoded.get(&text) {
            return Ok(known);
        }
        let Node::Str(characters) = self.node(text)? else {
            return Err(damaged("the text of bytes is not a str"));
        };
        let bytes: Option<Vec<u8>> = std::str::from_utf8(characters)
            .map_err(|_| damaged("a text that is not UTF-8"))?
            .chars()
            .map(|c| u8::try_from(u32::from(c)).ok())
            .collect();
        let bytes = bytes.ok_or_else(|| damaged("bytes with a character beyond latin-1"))?;
        let id = self.push_node(Node::Bytes(bytes.into()))?;
        self.encoded.insert(text, id);
        Ok(id)
    }

    fn name(&self, id: Id) -> Result<&str, Problem> {
        match self.node(id)? {
            Node::Str(text) | Node::Bytes(text) if text.len() <= LONGEST_NAME => {
                std::str::from_utf8(text).map_err(|_| damaged("a name that is not UTF-8"))
            }
            _ => Err(damaged("a name is missing")),
        }
    }

    fn dtype(&self, id: Id) -> Result<DType, Problem> {
        match self.node(id)? {
            Node::DType(dtype) => Ok(*dtype),
            _ => Err(damaged("an array without element type")),
        }
    }

    fn shape(&self, id: Id) -> Result<Vec<usize>, Problem> {
        let Node::Tuple(axes) = self.node(id)? else {
            return Err(damaged("the shape of an array is not a tuple"));
        };
        if axes.len() > MOST_AXES {
            return Err(damaged(format!("an array with {} axes", axes.len())));
        }
        axes.iter()
            .map(|&axis| match *self.node(axis)? {
                Node::Int(length) => {
                    usize::try_from(length).map_err(|_| damaged("an axis of negative length"))
                }
                _ => Err(damaged("the length of an axis is not an int")),
            })
            .collect()
    }

    /// An array whose data has exactly the length that shape and element type ask for.
    fn array(
        &self,
        shape: Vec<usize>,
        dtype: DType,
        fortran: bool,
        data: Id,
    ) -> Result<PickleArray, Problem> {
        let elements = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        let elements = elements.ok_or_else(|| damaged("an array with impossibly many elements"))?;
        let data = match (dtype.kind(), self.node(data)?) {
            (DTypeKind::Object, Node::List(items)) if items.len() == elements => ArrayData::Objects(data),
            (DTypeKind::Object, _) => {
                return Err(damaged(format!("an object array without the list of its {elements} objects")));
            }
            (_, Node::Bytes(bytes)) if Some(bytes.len()) == elements.checked_mul(dtype.size()) => {
                ArrayData::Raw(bytes.clone())
            }
            (_, Node::Bytes(bytes)) => {
                return Err(damaged(format!(
                    "an array of {dtype} of shape {shape:?} with {} bytes of data",
                    bytes.len()
                )));
            }
            _ => return Err(damaged("an array without data")),
        };
        Ok(PickleArray { shape, dtype, fortran, data })
    }
}
