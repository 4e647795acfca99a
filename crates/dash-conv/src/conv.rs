//! The convolution layer: checks shapes, chooses a plan, keeps what was built, and computes on any device.

use crate::{
    Algorithm, ConvGradients, ConvOptions, ConvProblem, Error, GradientsOf, Plan, Planner, TapSet,
    algorithm::CpuConvolution, cuda, engine::Engine, op::ConvOp,
};
use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};

/// A convolution over a tap set: any kernel sizes and dilations, any number of channels.
///
/// Engines are built when sizes are met for the first time, and kept; a network meets one or two.
pub struct TapConv {
    taps: TapSet,
    options: ConvOptions,
    planner: Planner,
    built: Mutex<Vec<(ConvProblem, Engine)>>,
}

/// The number of sizes for which engines are kept, so that a few batches of unusual size do not accumulate.
const KEPT: usize = 4;

impl TapConv {
    /// A convolution with the given taps.
    ///
    /// # Errors
    /// [`Error::Zero`] if the number of groups or a stride is zero.
    pub fn new(taps: TapSet, options: ConvOptions) -> std::result::Result<TapConv, Error> {
        let ConvOptions { groups, stride: [rows, columns] } = options;
        for (count, what) in [(groups, "the number of groups"), (rows, "the stride"), (columns, "the stride")]
        {
            if count == 0 {
                return Err(Error::Zero { what });
            }
        }
        Ok(TapConv { taps, options, planner: Planner::default(), built: Mutex::new(Vec::new()) })
    }

    /// The same convolution, computed as `planner` decides instead of by the cost model.
    pub fn with_planner(mut self, planner: &Planner) -> TapConv {
        self.planner = planner.clone();
        self.built = Mutex::new(Vec::new());
        self
    }

    /// The same convolution, computed by `algorithm` whatever the planner prefers.
    pub fn with_algorithm(self, algorithm: Algorithm) -> TapConv {
        let planner = self.planner.among([algorithm]);
        self.with_planner(&planner)
    }

    /// Groups and stride.
    pub fn options(&self) -> ConvOptions {
        self.options
    }

    /// The taps of the kernel.
    pub fn taps(&self) -> &TapSet {
        &self.taps
    }

    /// The problem that an input of shape `x` and weights of shape `weights` pose.
    ///
    /// # Errors
    /// If the shapes do not fit this convolution.
    pub fn problem(&self, x: &[usize], weights: &[usize]) -> std::result::Result<ConvProblem, Error> {
        let groups = self.options.groups;
        let shape =
            |tensor, got: &[usize], expected: String| Error::Shape { tensor, got: got.to_vec(), expected };
        let (batch, c_in, size, stride) = match (self.taps.dims(), x) {
            (1, &[b, c, n]) => (b, c, [1, n], [1, self.options.stride[1]]),
            (2, &[b, c, h, w]) => (b, c, [h, w], self.options.stride),
            (dims, _) => {
                let expected = if dims == 1 { "[batch, channels, n]" } else { "[batch, channels, h, w]" };
                return Err(shape("the input", x, expected.to_owned()));
            }
        };
        let &[c_out, group_in, taps] = weights else {
            return Err(shape("the weights", weights, "[c_out, c_in / groups, taps]".to_owned()));
        };
        if taps != self.taps.len() || group_in.checked_mul(groups) != Some(c_in) {
            let expected = format!("[c_out, {c_in} / {}, {}]", groups, self.taps.len());
            return Err(shape("the weights", weights, expected));
        }
        ConvProblem::new(&self.taps, [batch, c_in, size[0], size[1]], c_out, ConvOptions { groups, stride })
    }

    /// How an input of shape `x` is convolved with weights of shape `weights` on the planner's GPU, or on the CPU.
    ///
    /// # Errors
    /// If the shapes do not fit this convolution, or no allowed algorithm can compute it.
    pub fn plan(&self, x: &[usize], weights: &[usize]) -> std::result::Result<Plan, Error> {
        self.planner.plan(&self.problem(x, weights)?)
    }

    /// Convolves `x`, `[batch, c_in, n]` or `[batch, c_in, h, w]`, with `weights`, `[c_out, c_in / groups, taps]`, and
    /// adds `bias`, `[c_out]`. The output has `ceil(n / stride)` positions per axis and is differentiable in all three.
    ///
    /// # Errors
    /// If shapes do not fit, a tensor is not f32, or no allowed algorithm can compute the convolution on the device.
    pub fn forward(&self, x: &Tensor, weights: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let problem = self.problem(x.dims(), weights.dims())?;
        let bias = match bias {
            Some(bias) if bias.dims() == [problem.c_out] => bias.clone(),
            Some(bias) => {
                let expected = format!("[{}]", problem.c_out);
                return Err(Error::Shape { tensor: "the bias", got: bias.dims().to_vec(), expected }.into());
            }
            None => Tensor::zeros(problem.c_out, DType::F32, x.device())?,
        };
        let shape = self.out_shape(&problem);
        match self.engine(&problem, x.device())? {
            Engine::Cpu(convolution) => {
                let op = ConvOp { convolution, problem, shape };
                x.contiguous()?.apply_op3(&weights.contiguous()?, &bias.contiguous()?, op)
            }
            Engine::Gpu(gpu, convolution) => {
                cuda::op::forward(&gpu, convolution, &problem, [x, weights, &bias])?.reshape(shape)
            }
            Engine::Tensors(dft) => {
                let y = dft.forward(&x.contiguous()?, &weights.contiguous()?)?;
                y.broadcast_add(&bias.reshape((1, problem.c_out, 1))?)?.reshape(shape)
            }
        }
    }

    /// The value of [`TapConv::forward`] outside of the autograd graph, for callers that call [`TapConv::backward`]
    /// themselves.
    ///
    /// # Errors
    /// As [`TapConv::forward`].
    pub fn forward_detached(&self, x: &Tensor, weights: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.forward(&x.detach(), &weights.detach(), bias.map(Tensor::detach).as_ref())
    }

    /// The gradients of [`TapConv::forward`] from `grad`, that of its output, without an autograd graph.
    ///
    /// # Errors
    /// If shapes do not fit, a tensor is not f32, or no allowed algorithm can compute the convolution on the device.
    pub fn backward(
        &self,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        of: GradientsOf,
    ) -> Result<ConvGradients> {
        let problem = self.problem(x.dims(), weights.dims())?;
        let shape = self.out_shape(&problem);
        if grad.dims() != shape.dims() {
            let expected = format!("{:?}", shape.dims());
            return Err(Error::Shape { tensor: "the gradient", got: grad.dims().to_vec(), expected }.into());
        }
        match self.engine(&problem, x.device())? {
            Engine::Cpu(convolution) => {
                let op = ConvOp { convolution, problem, shape };
                op.gradients(&x.contiguous()?, &weights.contiguous()?, &grad.contiguous()?, of)
            }
            Engine::Gpu(gpu, convolution) => {
                cuda::op::gradients(&gpu, &*convolution, &problem, [x, weights, grad], of)
            }
            Engine::Tensors(_) => self.derived_gradients(x, weights, grad, of),
        }
    }

    /// The gradients where the engine is made of candle's operations, which know them.
    fn derived_gradients(
        &self,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        of: GradientsOf,
    ) -> Result<ConvGradients> {
        let x_var = (of == GradientsOf::All).then(|| Var::from_tensor(&x.detach())).transpose()?;
        let x = x_var.as_ref().map_or_else(|| x.detach(), |var| var.as_tensor().clone());
        let weights = Var::from_tensor(&weights.detach())?;
        let bias = Var::zeros(weights.dims()[0], DType::F32, x.device())?;
        let y = self.forward(&x, &weights, Some(&bias))?;
        let mut store = (y * grad.detach())?.sum_all()?.backward()?;
        // What the value does not depend on, as where no tap meets data, has the gradient zero.
        let mut take = |var: &Var| match store.remove(var) {
            Some(grad) => grad.contiguous(),
            None => var.zeros_like(),
        };
        Ok(ConvGradients {
            input: x_var.as_ref().map(&mut take).transpose()?,
            weights: take(&weights)?,
            bias: take(&bias)?,
        })
    }

    /// The shape of the output of `problem`.
    pub fn out_shape(&self, problem: &ConvProblem) -> Shape {
        let out = problem.out_size();
        match self.taps.dims() {
            1 => Shape::from((problem.batch, problem.c_out, out[1])),
            _ => Shape::from((problem.batch, problem.c_out, out[0], out[1])),
        }
    }

    fn engine(&self, problem: &ConvProblem, device: &Device) -> Result<Engine> {
        let built = || self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, engine)) = built().iter().find(|(p, _)| p == problem) {
            return Ok(engine.clone());
        }
        // Not under the lock: a planner that measures keeps all threads of the pool busy.
        let place = self.planner.place(device);
        let plan = self.planner.plan_in(problem, place)?;
        let engine = Engine::build(&plan, problem, place)?;
        let mut built = built();
        if built.len() >= KEPT {
            built.remove(0);
        }
        built.push((problem.clone(), engine.clone()));
        Ok(engine)
    }

    /// The engine of `problem` on the CPU, for operations of more than one convolution.
    ///
    /// # Errors
    /// If the device is not the CPU, or the algorithm is [`Algorithm::Dft`].
    pub(crate) fn cpu_convolution(
        &self,
        problem: &ConvProblem,
        device: &Device,
    ) -> Result<Arc<dyn CpuConvolution>> {
        match self.engine(problem, device)? {
            Engine::Cpu(convolution) if device.is_cpu() => Ok(convolution),
            _ => candle_core::bail!("this operation is computed on the CPU only, and not by dft"),
        }
    }
}
