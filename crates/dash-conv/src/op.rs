//! The convolution as a differentiable operation on candle tensors.

use crate::parallel::zeros;
use crate::{
    Algorithm, ConvProblem, Error, Plan, Planner, TapSet, bias::bias_gradient, dft::Dft, direct, gemm::Gemm,
    planner::noise, spectral::Spectral, winograd::Winograd,
};
use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Storage, Tensor, Var};
use dash_cuda::{
    Convolution, Dense, DenseMethod, DenseSizes, Depthwise, Gpu, TapMethod, Tiling, channel_sums,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// A convolution over a tap set: any kernel sizes and dilations, any number of channels.
pub struct TapConv {
    taps: TapSet,
    groups: usize,
    stride: usize,
    planner: Planner,
    /// What was built for the sizes seen so far: a network sees one or two.
    built: Mutex<Vec<(ConvProblem, Engine)>>,
}

/// An algorithm for one problem, on slices of values on the CPU.
pub(crate) trait Kernel: Send + Sync {
    /// `y = conv(x, weights) + bias`.
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]);

    /// Gradients in x (if wanted) and in the weights, given that in y.
    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]);
}

/// A problem with what its algorithm needs.
#[derive(Clone)]
enum Engine {
    /// A custom operation.
    Kernel(Arc<dyn Kernel>),
    /// Tensor operations: candle derives the gradients.
    Dft(Arc<Dft>),
    /// Kernels of a GPU.
    Gpu(Gpu, Arc<dyn Convolution>),
}

impl Engine {
    fn new(algorithm: Algorithm, problem: &ConvProblem, device: &Device) -> Result<Engine> {
        Ok(match algorithm {
            Algorithm::Fft => Engine::Kernel(Arc::new(Spectral::new(problem, Plan::pieces(problem).1)?)),
            Algorithm::Gemm => Engine::Kernel(Arc::new(Gemm::new(problem))),
            Algorithm::Winograd => match Plan::tiles(problem) {
                Some((_, tiles)) => Engine::Kernel(Arc::new(Winograd::new(problem, tiles))),
                None => {
                    let needs = "stride 1 and 2 or 3 evenly spaced taps per axis, or 1 along one of two";
                    return Err(Error::Unsuitable { algorithm, problem: problem.to_string(), needs }.into());
                }
            },
            Algorithm::Direct => Engine::Kernel(direct::kernel(problem)),
            Algorithm::Dft => Engine::Dft(Arc::new(Dft::new(problem, device)?)),
        })
    }
}

/// The kernel of an algorithm on the CPU; `None` if it has none or cannot be built for the problem.
pub(crate) fn kernel(algorithm: Algorithm, problem: &ConvProblem) -> Option<Arc<dyn Kernel>> {
    match algorithm {
        // Not a kernel, and not worth building to find out.
        Algorithm::Dft => None,
        _ => match Engine::new(algorithm, problem, &Device::Cpu).ok()? {
            Engine::Kernel(kernel) => Some(kernel),
            Engine::Dft(_) | Engine::Gpu(..) => None,
        },
    }
}

/// What computes `problem` on a GPU by an algorithm that has kernels there.
fn on_gpu(gpu: &Gpu, algorithm: Algorithm, problem: &ConvProblem) -> Result<Option<Arc<dyn Convolution>>> {
    if problem.offsets.is_empty() {
        // There is no memory without numbers on a GPU.
        return Ok(None);
    }
    let conv = match (algorithm, problem.is_depthwise()) {
        (Algorithm::Direct, true) => depthwise_on(gpu, problem, TapMethod::Taps)?,
        (Algorithm::Fft, _) => match Plan::cut_on_gpu(problem, gpu.shared_limit()) {
            Some((_, tiling)) => transforms_on(gpu, problem, tiling)?,
            None => return Ok(None),
        },
        (Algorithm::Gemm, false) => dense_on(gpu, problem, DenseMethod::Columns)?,
        _ => return Ok(None),
    };
    Ok(Some(conv))
}

/// Seconds of one pass forward and back of `problem` on a GPU by `algorithm`, the best of a few; `None` if there is no
/// kernel for it.
///
/// # Errors
/// If the GPU fails.
pub fn seconds_on_gpu(problem: &ConvProblem, algorithm: Algorithm, gpu: &Gpu) -> Result<Option<f64>> {
    /// Passes: the first finds memory and loads kernels.
    const RUNS: usize = 4;
    let Some(conv) = on_gpu(gpu, algorithm, problem)? else { return Ok(None) };
    let device = gpu.device();
    let [x_len, weights_len, _] = problem.lens();
    let operand = |len: usize| Tensor::from_vec(noise(len), len, &device);
    let [x, weights, bias] = [operand(x_len)?, operand(weights_len)?, operand(problem.c_out)?];
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        device.synchronize()?;
        let start = Instant::now();
        // The output serves as its own gradient: any values do.
        let y = conv.forward(gpu, &x, &weights, &bias)?;
        conv.gradients(gpu, &x, &weights, &y, true)?;
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(Some(best))
}

/// Transforms of maps that are cut in this way.
pub(crate) fn transforms_on(
    gpu: &Gpu,
    problem: &ConvProblem,
    tiling: Tiling,
) -> Result<Arc<dyn Convolution>> {
    if problem.is_depthwise() {
        depthwise_on(gpu, problem, TapMethod::Transforms(Box::new(tiling)))
    } else {
        dense_on(gpu, problem, DenseMethod::Transforms(Box::new(tiling)))
    }
}

/// The taps that meet data, as kernels take them.
fn table(problem: &ConvProblem) -> (&[[i32; 2]], &[usize], usize) {
    (&problem.offsets, &problem.tap_indices, problem.taps)
}

fn depthwise_on(gpu: &Gpu, problem: &ConvProblem, method: TapMethod) -> Result<Arc<dyn Convolution>> {
    let ConvProblem { batch, c_in, size, stride, .. } = *problem;
    Ok(Arc::new(Depthwise::new(gpu, [batch, c_in], size, stride, table(problem), method)?))
}

fn dense_on(gpu: &Gpu, problem: &ConvProblem, method: DenseMethod) -> Result<Arc<dyn Convolution>> {
    let (per_in, per_out) = (problem.group_in(), problem.group_out());
    let ConvProblem { batch, groups, size, stride, .. } = *problem;
    let sizes = DenseSizes { batch, groups, per_in, per_out, size, stride };
    Ok(Arc::new(Dense::new(gpu, sizes, table(problem), method)?))
}

/// Sizes kept built per convolution; a few batches of unusual size do not accumulate.
const KEPT: usize = 4;

impl TapConv {
    /// A convolution with the given taps; `stride` holds for every spatial axis.
    ///
    /// # Errors
    /// If `groups` or `stride` is zero.
    pub fn new(taps: TapSet, groups: usize, stride: usize) -> std::result::Result<TapConv, Error> {
        for (count, what) in [(groups, "the number of groups"), (stride, "the stride")] {
            if count == 0 {
                return Err(Error::Zero { what });
            }
        }
        Ok(TapConv { taps, groups, stride, planner: Planner::default(), built: Mutex::new(Vec::new()) })
    }

    /// The same convolution, computed as `planner` decides instead of by the cost model.
    pub fn with_planner(mut self, planner: &Planner) -> TapConv {
        self.planner = planner.clone();
        self.built = Mutex::new(Vec::new());
        self
    }

    /// The same convolution, computed by `algorithm` whatever the planner says.
    pub fn with_algorithm(self, algorithm: Algorithm) -> TapConv {
        let planner = self.planner.among([algorithm]);
        self.with_planner(&planner)
    }

    /// The taps.
    pub fn taps(&self) -> &TapSet {
        &self.taps
    }

    /// The problem that an input of shape `x` and weights of shape `weights` pose.
    ///
    /// # Errors
    /// If the shapes do not fit this convolution.
    pub fn problem(&self, x: &[usize], weights: &[usize]) -> std::result::Result<ConvProblem, Error> {
        let shape =
            |tensor, got: &[usize], expected: String| Error::Shape { tensor, got: got.to_vec(), expected };
        let (batch, c_in, size, stride) = match (self.taps.dims(), x) {
            (1, &[b, c, n]) => (b, c, [1, n], [1, self.stride]),
            (2, &[b, c, h, w]) => (b, c, [h, w], [self.stride; 2]),
            (dims, _) => {
                let expected = if dims == 1 { "[batch, channels, n]" } else { "[batch, channels, h, w]" };
                return Err(shape("the input", x, expected.to_owned()));
            }
        };
        let &[c_out, group_in, taps] = weights else {
            return Err(shape("the weights", weights, "[c_out, c_in / groups, taps]".to_owned()));
        };
        if taps != self.taps.len() || group_in.checked_mul(self.groups) != Some(c_in) {
            let expected = format!("[c_out, {c_in} / {}, {}]", self.groups, self.taps.len());
            return Err(shape("the weights", weights, expected));
        }
        ConvProblem::new(&self.taps, batch, c_in, c_out, self.groups, size, stride)
    }

    /// How an input of shape `x` would be convolved with weights of shape `weights` on the CPU.
    ///
    /// # Errors
    /// If the shapes do not fit this convolution.
    pub fn plan(&self, x: &[usize], weights: &[usize]) -> std::result::Result<Plan, Error> {
        Ok(self.planner.plan(&self.problem(x, weights)?))
    }

    fn engine(&self, problem: &ConvProblem, device: &Device) -> Result<Engine> {
        let built = || self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, engine)) = built().iter().find(|(p, _)| p == problem) {
            return Ok(engine.clone());
        }
        // Not under the lock: a planner that measures keeps all threads of the pool busy.
        let engine = match self.planner.gpu() {
            None if device.is_cpu() => Engine::new(self.planner.plan(problem).algorithm, problem, device)?,
            None => Engine::new(self.planner.plan_elsewhere(problem).algorithm, problem, device)?,
            Some(gpu) => {
                let time = |plan: &Plan| seconds_on_gpu(problem, plan.algorithm, gpu).ok().flatten();
                let algorithm = self.planner.plan_on_gpu(problem, gpu.shared_limit(), time).algorithm;
                match on_gpu(gpu, algorithm, problem)? {
                    Some(conv) => Engine::Gpu(gpu.clone(), conv),
                    None => Engine::new(algorithm, problem, device)?,
                }
            }
        };
        let mut built = built();
        if built.len() >= KEPT {
            built.remove(0);
        }
        built.push((problem.clone(), engine.clone()));
        Ok(engine)
    }

    /// What computes `problem`, for operations of more than one convolution.
    pub(crate) fn kernel(&self, problem: &ConvProblem, device: &Device) -> Result<Arc<dyn Kernel>> {
        match self.engine(problem, device)? {
            Engine::Kernel(kernel) if device.is_cpu() => Ok(kernel),
            _ => candle_core::bail!("this operation is computed on the CPU only, and not by dft"),
        }
    }

    /// Convolves `x`, `[B, C_in, n]` or `[B, C_in, H, W]`, with `weights`,
    /// `[C_out, C_in / groups, taps]`, and adds `bias`, `[C_out]`. Zero-padded, output sizes
    /// `ceil(n / stride)`; differentiable in all three.
    ///
    /// # Errors
    /// If shapes do not fit, a tensor is not f32, or an algorithm was asked for that the device has not: GPUs
    /// have those of [`Algorithm::ON_GPU`], other devices than these and the CPU only [`Algorithm::Dft`].
    pub fn forward(&self, x: &Tensor, weights: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let op = match self.applied(x, weights, bias)? {
            Applied::Op(op) => op,
            Applied::Tensor(y) => return Ok(y),
        };
        x.contiguous()?.apply_op3(&weights.contiguous()?, &bias.contiguous()?, op)
    }

    /// The value of [`TapConv::forward`] without a graph, for callers that call
    /// [`TapConv::gradients`] themselves.
    ///
    /// # Errors
    /// As [`TapConv::forward`].
    pub fn convolve(&self, x: &Tensor, weights: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (x, weights, bias) = (x.detach(), weights.detach(), bias.detach());
        let op = match self.applied(&x, &weights, &bias)? {
            Applied::Op(op) => op,
            Applied::Tensor(y) => return Ok(y),
        };
        x.contiguous()?.apply_op3_no_bwd(&weights.contiguous()?, &bias.contiguous()?, &op)
    }

    /// The gradients in `x` (if `want_dx`), `weights` and bias of [`TapConv::convolve`], given the
    /// gradient `grad` of its value.
    ///
    /// # Errors
    /// If shapes do not fit, or a tensor is not f32.
    pub fn gradients(
        &self,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let problem = self.problem(x.dims(), weights.dims())?;
        let shape = self.out_shape(&problem);
        if grad.dims() != shape.dims() {
            let expected = format!("{:?}", shape.dims());
            return Err(Error::Shape { tensor: "the gradient", got: grad.dims().to_vec(), expected }.into());
        }
        let engine = self.engine(&problem, x.device())?;
        if let Engine::Gpu(gpu, conv) = &engine {
            let (dx, dw) = conv.gradients(gpu, x, weights, grad, want_dx)?;
            let (dx, dw) = (dx.map(|dx| dx.reshape(x.shape())).transpose()?, dw.reshape(weights.shape())?);
            let grad = grad.contiguous()?;
            let sizes = [problem.batch, problem.c_out, problem.out_plane()];
            let db = channel_sums(gpu, gpu.operand(&grad)?.read(), sizes)?;
            return Ok((dx, dw, gpu.tensor(db, problem.c_out)?));
        }
        if let Engine::Kernel(kernel) = engine {
            let op = ConvOp { kernel, problem, shape };
            return op.gradients(&x.contiguous()?, &weights.contiguous()?, &grad.contiguous()?, want_dx);
        }
        // The engine is made of candle's operations, which know their gradients.
        let x_var = want_dx.then(|| Var::from_tensor(&x.detach())).transpose()?;
        let x = x_var.as_ref().map_or_else(|| x.detach(), |var| var.as_tensor().clone());
        let weights = Var::from_tensor(&weights.detach())?;
        let bias = Var::zeros(problem.c_out, DType::F32, x.device())?;
        let y = self.forward(&x, &weights, &bias)?;
        let mut store = (y * grad.detach())?.sum_all()?.backward()?;
        // What the value does not depend on, as where no tap meets data, has the gradient zero.
        let mut take = |var: &Var| match store.remove(var) {
            Some(grad) => grad.contiguous(),
            None => var.zeros_like(),
        };
        Ok((x_var.as_ref().map(&mut take).transpose()?, take(&weights)?, take(&bias)?))
    }

    /// The shape of the result of `problem`.
    pub fn out_shape(&self, problem: &ConvProblem) -> Shape {
        let out = problem.out_size();
        match self.taps.dims() {
            1 => Shape::from((problem.batch, problem.c_out, out[1])),
            _ => Shape::from((problem.batch, problem.c_out, out[0], out[1])),
        }
    }

    /// The convolution as a custom operation, or its value where candle's operations compute it.
    fn applied(&self, x: &Tensor, weights: &Tensor, bias: &Tensor) -> Result<Applied> {
        let problem = self.problem(x.dims(), weights.dims())?;
        if bias.dims() != [problem.c_out] {
            let expected = format!("[{}]", problem.c_out);
            return Err(Error::Shape { tensor: "the bias", got: bias.dims().to_vec(), expected }.into());
        }
        let shape = self.out_shape(&problem);
        Ok(match self.engine(&problem, x.device())? {
            Engine::Kernel(kernel) => Applied::Op(ConvOp { kernel, problem, shape }),
            Engine::Gpu(gpu, conv) => {
                if !(x.track_op() || weights.track_op() || bias.track_op()) {
                    return Ok(Applied::Tensor(conv.forward(&gpu, x, weights, bias)?.reshape(shape)?));
                }
                let (x, weights) = (x.contiguous()?, weights.contiguous()?);
                let none = bias.detach().zeros_like()?;
                let y = conv.forward(&gpu, &x.detach(), &weights.detach(), &none)?;
                let (on, flat) = (gpu.clone(), (problem.batch, problem.c_out, problem.out_plane()));
                let y = y.reshape(flat)?;
                let y = gpu.node("tap-conv", [&x, &weights], &y, move |[x, weights], grad| {
                    let want_dx = x.track_op();
                    let (x, weights) = (x.detach(), weights.detach());
                    let (dx, dw) = conv.gradients(&on, &x, &weights, grad, want_dx)?;
                    Ok([dx.map(|dx| dx.reshape(x.shape())).transpose()?, Some(dw.reshape(weights.shape())?)])
                })?;
                Applied::Tensor(y.broadcast_add(&bias.reshape((1, problem.c_out, 1))?)?.reshape(shape)?)
            }
            Engine::Dft(dft) => {
                let y = dft.forward(&x.contiguous()?, &weights.contiguous()?)?;
                Applied::Tensor(y.broadcast_add(&bias.reshape((1, problem.c_out, 1))?)?.reshape(shape)?)
            }
        })
    }
}

/// See [`TapConv::applied`].
enum Applied {
    Op(ConvOp),
    Tensor(Tensor),
}

struct ConvOp {
    kernel: Arc<dyn Kernel>,
    problem: ConvProblem,
    shape: Shape,
}

impl CustomOp3 for ConvOp {
    fn name(&self) -> &'static str {
        "tap-conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = zeros(self.problem.lens()[2]);
        self.kernel.forward(
            contiguous(x, x_layout)?,
            contiguous(weights, weights_layout)?,
            contiguous(bias, bias_layout)?,
            &mut y,
        );
        Ok((CpuStorage::F32(y), self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // The gradient of the data itself is nobody's business: the first layer saves a third.
        let (dx, dw, db) = self.gradients(x, weights, &grad.contiguous()?, x.track_op())?;
        Ok((dx, Some(dw), Some(db)))
    }
}

impl ConvOp {
    /// Gradients in x (if wanted), weights and bias; all operands contiguous.
    fn gradients(
        &self,
        x: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
        want_dx: bool,
    ) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let p = &self.problem;
        let [x_len, weights_len, _] = p.lens();
        let mut dx = want_dx.then(|| zeros(x_len));
        let mut dw = vec![0.0; weights_len];
        let db = with_values([x, weights, grad], |[x, weights, grad]| {
            self.kernel.backward(x, weights, grad, dx.as_deref_mut(), &mut dw);
            bias_gradient(p, grad)
        })?;
        let device = x.device();
        Ok((
            dx.map(|dx| Tensor::from_vec(dx, x.shape(), device)).transpose()?,
            Tensor::from_vec(dw, weights.shape(), device)?,
            Tensor::from_vec(db, p.c_out, device)?,
        ))
    }
}

/// The values of a contiguous f32 tensor on the CPU.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&values[from..to]),
        None => candle_core::bail!("a contiguous tensor is needed, got strides {:?}", layout.stride()),
    }
}

/// Calls `f` with the values of contiguous f32 tensors on the CPU.
pub(crate) fn with_values<const N: usize, T>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> T,
) -> Result<T> {
    if let Some(other) = tensors.iter().find(|t| t.dtype() != DType::F32) {
        candle_core::bail!("an f32 tensor is needed, got {:?}", other.dtype());
    }
    let parts = tensors.map(|t| t.storage_and_layout());
    let mut values = [&[] as &[f32]; N];
    for (value, (storage, layout)) in values.iter_mut().zip(&parts) {
        *value = match &**storage {
            Storage::Cpu(storage) => contiguous(storage, layout)?,
            _ => candle_core::bail!("this operation is computed on the CPU only"),
        };
    }
    Ok(f(values))
}
