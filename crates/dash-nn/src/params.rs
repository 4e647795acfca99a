//! Stores the parameters and buffers of a network in forward order.

use crate::{
    backend::{Backend, ShapeBackend},
    context::ForwardContext,
    error::{Error, Result},
    init::Init,
};
use candle_core::{DType, Shape, Tensor, Var};
use dash_conv::Planner;
use dash_core::random::{Purpose, stream};
use std::collections::{HashMap, HashSet};

/// What a parameter is to the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// An ordinary weight, bias, or scale.
    Weight,
    /// Architecture parameters (logits of a mixture).
    Architecture,
}

/// A trainable tensor with a name. Clones share the values.
#[derive(Clone, Debug)]
pub struct Param {
    name: String,
    kind: ParamKind,
    var: Var,
}

impl Param {
    /// Dotted name, unique in its network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the parameter is to the optimiser.
    pub fn kind(&self) -> ParamKind {
        self.kind
    }

    /// The variable itself.
    pub fn var(&self) -> &Var {
        &self.var
    }

    /// The values as a forward pass needs them: part of the gradient graph in training, detached
    /// otherwise, so that evaluation builds no graph.
    pub fn tensor(&self, pass: &ForwardContext) -> Tensor {
        if pass.training { self.var.as_tensor().clone() } else { self.var.as_detached_tensor() }
    }
}

/// State that is not trained, such as running statistics. Clones share the values.
#[derive(Clone, Debug)]
pub struct Buffer {
    name: String,
    var: Var,
}

impl Buffer {
    /// Dotted name, unique in its network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The current values, outside of any gradient graph.
    pub fn tensor(&self) -> Tensor {
        self.var.as_detached_tensor()
    }

    /// Replaces the values.
    pub fn set(&self, values: &Tensor) -> candle_core::Result<()> {
        self.var.set(values)
    }
}

/// Parameters and buffers of a network, in the order in which the forward pass meets them.
#[derive(Clone, Debug, Default)]
pub struct Params {
    params: Vec<Param>,
    buffers: Vec<Buffer>,
    backend: Backend,
}

impl Params {
    /// What computes with them.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The parameters in forward order.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.params.iter()
    }

    /// Number of named parameters.
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Number of trainable values.
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Number of trainable values of one kind.
    pub fn count_of(&self, kind: ParamKind) -> usize {
        self.params.iter().filter(|p| p.kind == kind).map(|p| p.var.elem_count()).sum()
    }

    /// The buffers in forward order.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// A copy of all parameters, then all buffers, that later steps do not change.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let params = self.params.iter().map(|p| (&p.name, &p.var));
        let buffers = self.buffers.iter().map(|b| (&b.name, &b.var));
        params
            .chain(buffers)
            .map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().copy()?)))
            .collect()
    }

    /// Sets all parameters and buffers from a state with exactly these names and shapes, in any
    /// order. Nothing is changed if the state does not fit.
    pub fn load(&self, state: &[(String, Tensor)]) -> Result<()> {
        let given: HashMap<&str, &Tensor> = state.iter().map(|(name, t)| (name.as_str(), t)).collect();
        let mine: Vec<(&str, &Var)> = (self.params.iter().map(|p| (p.name.as_str(), &p.var)))
            .chain(self.buffers.iter().map(|b| (b.name.as_str(), &b.var)))
            .collect();
        let wrong = |name: &str, reason: String| Error::State { name: name.to_owned(), reason };
        let known: HashSet<&str> = mine.iter().map(|(name, _)| *name).collect();
        if let Some(name) = given.keys().filter(|name| !known.contains(**name)).min() {
            return Err(wrong(name, "is not part of the network".to_owned()));
        }
        for (name, var) in &mine {
            let tensor = given.get(name).ok_or_else(|| wrong(name, "is missing".to_owned()))?;
            if tensor.dims() != var.dims() || tensor.dtype() != DType::F32 {
                let (found, dtype, expected) = (tensor.dims(), tensor.dtype(), var.dims());
                return Err(wrong(name, format!("is {dtype:?} {found:?} instead of F32 {expected:?}")));
            }
        }
        for (name, var) in &mine {
            if let Some(tensor) = given.get(name) {
                var.set(&tensor.to_device(var.device())?)?;
            }
        }
        Ok(())
    }
}

/// Creates parameters and buffers while a network is built, and knows what its layers are built for:
/// the backend, and the planner of their convolutions.
///
/// Initial values depend on the seed, the network number and the parameter's position only.
pub struct ParamBuilder {
    seed: u64,
    network: u64,
    planner: Planner,
    /// Whether initial values are drawn; else they are zeros.
    drawn: bool,
    params: Params,
    names: HashSet<String>,
}

impl ParamBuilder {
    /// A builder of a network that `backend` computes, whose draws come from (`seed`, `network`).
    pub fn new(seed: u64, network: u64, backend: &Backend) -> ParamBuilder {
        ParamBuilder {
            seed,
            network,
            planner: Planner::default().on_gpu(backend.gpu()),
            drawn: true,
            params: Params { backend: backend.clone(), ..Params::default() },
            names: HashSet::new(),
        }
    }

    /// The same builder for layers whose convolutions are planned by `planner` instead of the cost
    /// model.
    pub fn with_planner(mut self, planner: &Planner) -> ParamBuilder {
        self.planner = planner.on_gpu(self.backend().gpu());
        self
    }

    /// A builder of a network that is traced and not used, as `backend` would compute it: all values are zeros on the CPU,
    /// which cost neither time nor memory.
    pub fn without_values(backend: &Backend) -> ParamBuilder {
        let shapes = Backend::new(ShapeBackend::new(backend));
        ParamBuilder { drawn: false, ..ParamBuilder::new(0, 0, &shapes) }
    }

    /// What plans the convolutions of the layers.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// The backend that the parameters are for.
    pub fn backend(&self) -> &Backend {
        &self.params.backend
    }

    fn claim(&mut self, name: &str) -> Result<()> {
        if self.names.insert(name.to_owned()) {
            Ok(())
        } else {
            Err(Error::DuplicateName { name: name.to_owned() })
        }
    }

    /// A new parameter of the given kind.
    pub fn param(
        &mut self,
        name: &str,
        kind: ParamKind,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Result<Param> {
        self.claim(name)?;
        let shape = shape.into();
        let index = self.params.params.len() as u64;
        let mut rng = stream(self.seed, Purpose::Initialisation, [self.network, index, 0]);
        let values = if self.drawn {
            init.sample(&mut rng, shape.elem_count())
        } else {
            vec![0.0; shape.elem_count()]
        };
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, self.backend().device())?)?;
        let param = Param { name: name.to_owned(), kind, var };
        self.params.params.push(param.clone());
        Ok(param)
    }

    /// A new weight.
    pub fn weight(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Param> {
        self.param(name, ParamKind::Weight, shape, init)
    }

    /// A new vector of architecture parameters.
    pub fn architecture(&mut self, name: &str, len: usize, init: Init) -> Result<Param> {
        self.param(name, ParamKind::Architecture, len, init)
    }

    /// A new buffer filled with `value`.
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, value: f32) -> Result<Buffer> {
        self.claim(name)?;
        let var = Var::from_tensor(&Tensor::full(value, shape.into(), self.backend().device())?)?;
        let buffer = Buffer { name: name.to_owned(), var };
        self.params.buffers.push(buffer.clone());
        Ok(buffer)
    }

    /// Everything that was made.
    pub fn finish(self) -> Params {
        self.params
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn built(seed: u64) -> Params {
        let mut b = ParamBuilder::new(seed, 0, &Backend::cpu());
        b.weight("a", (2, 3), Init::Uniform { bound: 1.0 }).unwrap();
        b.architecture("alpha", 4, Init::Normal { std: 1.0 }).unwrap();
        b.buffer("mean", 3, 0.5).unwrap();
        b.finish()
    }

    fn values(params: &Params) -> Vec<f32> {
        let state = params.state().unwrap();
        state.iter().flat_map(|(_, t)| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
    }

    #[test]
    fn draws_depend_on_the_seed_and_nothing_else() {
        assert_eq!(values(&built(1)), values(&built(1)));
        assert_ne!(values(&built(1)), values(&built(2)));
    }

    #[test]
    fn counts_are_by_kind_and_leave_buffers_out() {
        let p = built(0);
        assert_eq!(
            (p.count(), p.count_of(ParamKind::Weight), p.count_of(ParamKind::Architecture)),
            (10, 6, 4)
        );
    }

    #[test]
    fn states_survive_later_changes_and_restore_exactly() {
        let p = built(3);
        let before = values(&p);
        let state = p.state().unwrap();
        for param in p.iter() {
            param.var().set(&param.var().zeros_like().unwrap()).unwrap();
        }
        assert_ne!(values(&p), before);
        p.load(&state).unwrap();
        assert_eq!(values(&p), before);
    }

    #[test]
    fn states_that_do_not_fit_are_named_and_change_nothing() {
        let p = built(3);
        let before = values(&p);
        let zero = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let full = |a: &[usize]| {
            vec![("a".to_owned(), zero(a)), ("alpha".to_owned(), zero(&[4])), ("mean".to_owned(), zero(&[3]))]
        };
        let cases = [
            (full(&[2, 2]), "`a` is F32 [2, 2] instead of F32 [2, 3]"),
            (full(&[2, 3])[..2].to_vec(), "`mean` is missing"),
            ([full(&[2, 3]), vec![("b".to_owned(), zero(&[1]))]].concat(), "`b` is not part of the network"),
        ];
        for (state, message) in cases {
            assert!(p.load(&state).unwrap_err().to_string().ends_with(message));
        }
        assert_eq!(values(&p), before);
    }

    #[test]
    fn names_are_unique() {
        let mut b = ParamBuilder::new(0, 0, &Backend::cpu());
        b.weight("a", 1, Init::Constant(0.0)).unwrap();
        assert!(matches!(b.buffer("a", 1, 0.0), Err(Error::DuplicateName { .. })));
    }
}
