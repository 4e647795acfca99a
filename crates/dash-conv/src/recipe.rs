//! How a convolution is computed: a recipe holds everything that building its engine needs, and a plan is a recipe
//! with its estimated cost.

use crate::{
    Algorithm, ConvProblem, Error, Machine,
    algorithm::Cost,
    cuda,
    dft::{self, DftSize},
    direct, gemm, spectral, winograd,
};
use std::fmt;

/// Everything that building the engine of a problem needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Recipe {
    Fft(spectral::Tiling),
    Winograd(winograd::Tiling),
    Gemm(Vec<gemm::Segment>),
    Direct(direct::Layout),
    Dft(DftSize),
    Gpu(cuda::GpuRecipe),
}

impl Recipe {
    fn algorithm(&self) -> Algorithm {
        match self {
            Recipe::Fft(_) => Algorithm::Fft,
            Recipe::Winograd(_) => Algorithm::Winograd,
            Recipe::Gemm(_) => Algorithm::Gemm,
            Recipe::Direct(_) => Algorithm::Direct,
            Recipe::Dft(_) => Algorithm::Dft,
            Recipe::Gpu(recipe) => recipe.algorithm(),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.algorithm())?;
        let (size, tiles) = match self {
            Recipe::Fft(tiling) => ([tiling.rows.len, tiling.columns.len], tiling.count()),
            Recipe::Winograd(tiling) => ([tiling.rows.points, tiling.columns.points], 1),
            Recipe::Dft(size) => ([size.rows, size.columns], 1),
            Recipe::Gpu(cuda::GpuRecipe::Fft(tiling)) => (tiling.size(), tiling.count()),
            Recipe::Gemm(_) | Recipe::Direct(_) | Recipe::Gpu(_) => return Ok(()),
        };
        write!(f, " {}x{}", size[0], size[1])?;
        if tiles > 1 { write!(f, " of {tiles} tiles") } else { Ok(()) }
    }
}

/// How a convolution is computed, and what that is expected to cost. An engine is built from a plan and nothing else.
///
/// ```
/// use dash_conv::{Algorithm, ConvOptions, ConvProblem, Machine, Plan, TapSet};
///
/// let problem = ConvProblem::new(&TapSet::centred(1, 3, 1)?, [2, 4, 1, 30], 4, ConvOptions::default())?;
/// let plan = Plan::choose(&problem, &Machine::CPU);
/// for other in Plan::candidates(Algorithm::Fft, &problem, &Machine::CPU) {
///     assert!(plan.cost().seconds <= other.cost().seconds);
/// }
/// // Winograd's algorithm has no recipe for a stride of 2.
/// let strided = ConvProblem::new(&TapSet::centred(1, 3, 1)?, [2, 4, 1, 30], 4, ConvOptions { stride: [1, 2], ..ConvOptions::default() })?;
/// assert!(Plan::candidates(Algorithm::Winograd, &strided, &Machine::CPU).is_empty());
/// # Ok::<(), dash_conv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) recipe: Recipe,
    cost: Cost,
}

impl Plan {
    /// All plans that compute `problem` by `algorithm` on `machine`, in a fixed order; none if the algorithm cannot
    /// compute it there.
    pub fn candidates(algorithm: Algorithm, problem: &ConvProblem, machine: &Machine) -> Vec<Plan> {
        fn plans<T>(recipes: Vec<(T, Cost)>, recipe: fn(T) -> Recipe) -> Vec<Plan> {
            recipes.into_iter().map(|(value, cost)| Plan { recipe: recipe(value), cost }).collect()
        }
        match (machine, algorithm) {
            (Machine::Cpu(cpu), Algorithm::Fft) => {
                plans(spectral::cost::candidates(problem, cpu), Recipe::Fft)
            }
            (Machine::Cpu(cpu), Algorithm::Winograd) => {
                plans(winograd::cost::candidates(problem, cpu), Recipe::Winograd)
            }
            (Machine::Cpu(cpu), Algorithm::Gemm) => plans(gemm::cost::candidates(problem, cpu), Recipe::Gemm),
            (Machine::Cpu(cpu), Algorithm::Direct) => {
                plans(direct::cost::candidates(problem, cpu), Recipe::Direct)
            }
            (_, Algorithm::Dft) => vec![Plan::dft(problem, machine)],
            (Machine::Gpu(gpu), _) => plans(cuda::cost::candidates(algorithm, problem, gpu), Recipe::Gpu),
            (Machine::Generic(_), _) => Vec::new(),
        }
    }

    /// The plan with the least estimated time among everything that `machine` offers. The same problem gets the same
    /// plan, and therefore the same bits, everywhere.
    pub fn choose(problem: &ConvProblem, machine: &Machine) -> Plan {
        let chosen = Plan::choose_among(machine.algorithms(), problem, machine);
        chosen.unwrap_or_else(|_| Plan::dft(problem, machine))
    }

    /// The plan of [`Algorithm::Dft`], which every problem has on every machine.
    fn dft(problem: &ConvProblem, machine: &Machine) -> Plan {
        let (size, cost) = match machine {
            Machine::Cpu(cpu) | Machine::Generic(cpu) => dft::cost::candidate(problem, cpu),
            Machine::Gpu(gpu) => cuda::cost::dft(problem, gpu),
        };
        Plan { recipe: Recipe::Dft(size), cost }
    }

    /// The plan with the least estimated time by one of some algorithms, the first among equals.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if none of them can compute the problem on the machine.
    pub fn choose_among(
        algorithms: &[Algorithm],
        problem: &ConvProblem,
        machine: &Machine,
    ) -> Result<Plan, Error> {
        let plans = algorithms.iter().flat_map(|&algorithm| Plan::candidates(algorithm, problem, machine));
        let cheaper = |best: Plan, plan: Plan| {
            if plan.cost.seconds < best.cost.seconds { plan } else { best }
        };
        plans.reduce(cheaper).ok_or_else(|| Plan::unsuitable(algorithms, problem, machine))
    }

    pub(crate) fn unsuitable(algorithms: &[Algorithm], problem: &ConvProblem, machine: &Machine) -> Error {
        let needs = algorithms.iter().map(|a| format!("{a} needs {}", a.requirement()));
        Error::Unsuitable {
            algorithms: algorithms.to_vec(),
            problem: problem.to_string(),
            machine: machine.name(),
            needs: needs.collect::<Vec<_>>().join("; "),
        }
    }

    /// The algorithm of the recipe.
    pub fn algorithm(&self) -> Algorithm {
        self.recipe.algorithm()
    }

    /// The recipe in a few words, as `fft 36x40 of 4 tiles`.
    pub fn recipe(&self) -> String {
        self.recipe.to_string()
    }

    /// The estimated cost of one forward and backward pass.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { flops, bytes, .. } = self.cost;
        write!(f, "{}, {:.3} GFLOP, {:.1} MB", self.recipe, flops / 1e9, bytes / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing};

    fn problem(kernel: (usize, usize), c_in: usize, c_out: usize, groups: usize, n: usize) -> ConvProblem {
        let taps = TapSet::centred(2, kernel.0, kernel.1).unwrap();
        testing::problem(&taps, [16, c_in, c_out, groups], [n, n], [1, 1])
    }

    #[test]
    fn pointwise_layers_are_matrix_products_and_mixtures_are_transforms() {
        let chosen = |problem: &ConvProblem| Plan::choose(problem, &Machine::CPU).algorithm();
        assert_eq!(chosen(&problem((1, 1), 64, 64, 1, 32)), Algorithm::Gemm);
        let sets =
            [3, 5, 7, 9].iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(2, k, d).unwrap()));
        let union = TapSet::union(&sets.collect::<Vec<_>>()).unwrap().0;
        let mixture = |groups| testing::problem(&union, [16, 64, 64, groups], [64, 64], [1, 1]);
        assert_eq!(chosen(&mixture(64)), Algorithm::Fft);
        assert_eq!(chosen(&mixture(1)), Algorithm::Fft);
        assert_eq!(chosen(&problem((9, 1), 64, 64, 1, 64)), Algorithm::Fft);
        assert_eq!(chosen(&problem((3, 2), 64, 64, 1, 64)), Algorithm::Winograd);
    }

    #[test]
    fn dilated_kernels_of_many_channels_are_tiled() {
        // 64 x 64 kernels at the full size of a feature map would cost more than the products.
        let problem = problem((3, 7), 64, 64, 1, 64);
        let plan = Plan::choose_among(&[Algorithm::Fft], &problem, &Machine::CPU).unwrap();
        assert!(plan.to_string().contains(" tiles, "), "{plan}");
    }

    #[test]
    fn a_plan_prints_its_recipe_and_its_cost() {
        let problem = problem((3, 1), 4, 4, 4, 31);
        let plan = Plan::choose_among(&[Algorithm::Fft], &problem, &Machine::CPU).unwrap();
        assert_eq!(
            plan.to_string(),
            format!(
                "{}, {:.3} GFLOP, {:.1} MB",
                plan.recipe(),
                plan.cost().flops / 1e9,
                plan.cost().bytes / 1e6
            )
        );
        assert!(plan.recipe().starts_with("fft "), "{plan}");
    }
}
