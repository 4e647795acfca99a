//! Declares the kernels of this crate.

use crate::kernel::{In, Int, Long, Out};

crate::kernels! {
    "elementwise" {
        Add = add emulated_add {
            a: In<f32>, b: In<f32>, out: Out<f32>, count: Long,
        }
    }
    "pool" {
        MeanForward = mean_forward emulated_mean_forward {
            x: In<f32>, means: Out<f32>, planes: Int, n: Int,
        }
        MeanBackward = mean_backward emulated_mean_backward {
            grad: In<f32>, dx: Out<f32>, count: Long, n: Int,
        }
    }
    "norm" {
        NormSums = norm_sums emulated_norm_sums {
            x: In<f32>, sums: Out<f64>, batch: Int, channels: Int, n: Int, parts: Int,
        }
        NormMoments = norm_moments emulated_norm_moments {
            x: In<f32>, sums: In<f64>, moments: Out<f64>, old_mean: In<f32>, old_variance: In<f32>,
            running_mean: Out<f32>, running_variance: Out<f32>, factor: f64, batch: Int, channels: Int, n:
            Int, parts: Int,
        }
        NormGiven = norm_given emulated_norm_given {
            running_mean: In<f32>, running_variance: In<f32>, moments: Out<f64>, channels: Int,
        }
        NormApply = norm_apply emulated_norm_apply {
            x: In<f32>, moments: In<f64>, weight: In<f32>, bias: In<f32>, y: Out<f32>, epsilon: f64, relu:
            bool, planes: Int, channels: Int, n: Int,
        }
        NormGradientSums = norm_gradient_sums emulated_norm_gradient_sums {
            x: In<f32>, grad: In<f32>, moments: In<f64>, weight: In<f32>, bias: In<f32>, sums: Out<f64>,
            epsilon: f64, relu: bool, batch: Int, channels: Int, n: Int, parts: Int,
        }
        NormGradientFactors = norm_gradient_factors emulated_norm_gradient_factors {
            sums: In<f64>, moments: In<f64>, factors: Out<f32>, grad_weight: Out<f32>, grad_bias: Out<f32>,
            epsilon: f64, count: f64, channels: Int, parts: Int,
        }
        NormGradient = norm_gradient emulated_norm_gradient {
            x: In<f32>, grad: In<f32>, moments: In<f64>, weight: In<f32>, bias: In<f32>, factors: In<f32>,
            dx: Out<f32>, epsilon: f64, relu: bool, planes: Int, channels: Int, n: Int,
        }
    }
    "dropout" {
        Dropout = dropout emulated_dropout {
            x: In<f32>, y: Out<f32>, count: Long, stream: Int, k0: u32, k1: u32, k2: u32, k3: u32, k4: u32,
            k5: u32, k6: u32, k7: u32, threshold: u32, scale: f64,
        }
    }
    "loss" {
        ClassLoss = class_loss emulated_class_loss {
            logits: In<f32>, classes: In<i32>, losses: Out<f64>, grad: Out<f32>, gamma: f64, focal: bool,
            rows: Int, k: Int,
        }
        LabelLoss = label_loss emulated_label_loss {
            logits: In<f32>, labels: In<i32>, sums: Out<f64>, grad: Out<f32>, weight: f64, most: f64, count:
            Long,
        }
        FieldLoss = field_loss emulated_field_loss {
            output: In<f32>, target: In<f32>, mean: In<f32>, scale: In<f32>, losses: Out<f64>, grad:
            Out<f32>, relative: bool, scaled: bool, samples: Int, length: Int,
        }
        LossTotal = loss_total emulated_loss_total {
            sums: In<f64>, out: Out<f32>, divisor: f64, count: Int,
        }
        ScaleBy = scale_by emulated_scale_by {
            x: In<f32>, factor: In<f32>, out: Out<f32>, count: Long,
        }
    }
    "optimiser" {
        SquareSums = square_sums emulated_square_sums {
            x: In<f32>, sums: Out<f64>, count: Long,
        }
        ClipScale = clip_scale emulated_clip_scale {
            sums: In<f64>, scale: Out<f32>, max_norm: f64, count: Int,
        }
        Descend = descend emulated_descend {
            p: In<f32>, grad: In<f32>, buffer: In<f32>, scale: In<f32>, new_p: Out<f32>, new_buffer:
            Out<f32>, decay: f64, momentum: f64, rate: f64, count: Long,
        }
    }
    "mixing" {
        MixingWeights = mixing_weights emulated_mixing_weights {
            alpha: In<f32>, noise: In<f32>, out: Out<f32>, candidates: Int,
        }
        MixingGradient = mixing_gradient emulated_mixing_gradient {
            mixing_weights: In<f32>, grad: In<f32>, dalpha: Out<f32>, candidates: Int,
        }
        ArchGradient = arch_gradient emulated_arch_gradient {
            grad: In<f32>, penalty: In<f32>, out: Out<f32>, scale: f64, candidates: Int,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn declarations_agree_with_the_files_of_the_kernels() {
        let read = |file: &str| {
            let path = format!("{}/kernels/{file}.cu", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        assert_eq!(crate::signature_errors(super::KERNELS, read), Vec::<String>::new());
    }
}
