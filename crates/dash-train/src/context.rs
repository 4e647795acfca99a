//! What every stage works on: one run of one pipeline.

use crate::{checkpoints::Checkpoints, error::Error};
use dash_conv::Planner;
use dash_core::{
    architecture::Architecture,
    card::Split,
    event::Listener,
    pipeline::{Backbone, Pipeline},
};
use dash_data::{DatasetFolder, SplitData};
use dash_nn::{
    Backend, ConvBuilder, ConvSpec, Convolve, FixedKernels, Network, Objective, ParamBuilder, Params,
};
use std::sync::Arc;

/// What a stage works on: one run of one pipeline.
#[derive(Clone, Copy)]
pub struct StageContext<'a> {
    /// The effective configuration.
    pub pipeline: &'a Pipeline,
    /// Seed of the run.
    pub seed: u64,
    /// The dataset.
    pub data: &'a DatasetFolder,
    /// What computes.
    pub backend: &'a Backend,
    /// Plans the convolutions.
    pub planner: &'a Planner,
    /// Receives events, and may ask the stage to stop.
    pub listener: &'a dyn Listener,
    /// Where the stage keeps its checkpoints. Without them it can neither stop early nor resume.
    pub checkpoints: Option<&'a Checkpoints>,
}

/// Number of the network whose initial weights trials and retraining share (DASH, section 8).
const RETRAINED: u64 = 1;
/// Number of the search network.
const SEARCHED: u64 = 0;

/// Counts the convolutions that take a kernel.
struct Counted {
    kernels: FixedKernels,
    built: usize,
}

impl ConvBuilder for Counted {
    fn build(
        &mut self,
        spec: &ConvSpec,
        params: &mut ParamBuilder,
    ) -> Result<Box<dyn Convolve>, dash_nn::Error> {
        self.built += 1;
        self.kernels.build(spec, params)
    }
}

impl<'a> StageContext<'a> {
    /// Loss, metric and decoding of the task.
    ///
    /// # Errors
    /// If loss or metric do not fit the dataset's targets.
    pub fn objective(&self) -> Result<Objective, Error> {
        let (task, card) = (&self.pipeline.task, self.data.card());
        let scaling = card.target_scaling.as_ref().filter(|_| task.decode_target);
        let objective =
            Objective { loss: task.loss, metric: task.metric, scaling: scaling.cloned().map(Arc::new) };
        objective.check(card.target.kind())?;
        Ok(objective)
    }

    /// Checks, before training, that loss and metric are defined on the data.
    ///
    /// # Errors
    /// [`Error::Data`] if they have no value, whatever a network predicts.
    pub fn check_task(&self) -> Result<(), Error> {
        Ok(self.data.check_task(&self.pipeline.task)?)
    }

    /// A split of the dataset.
    ///
    /// # Errors
    /// If it cannot be read or has no rows.
    pub fn split(&self, split: Split) -> Result<&'a SplitData, Error> {
        let data = self.data.split(split)?;
        if data.is_empty() { Err(Error::EmptySplit { split: split.name() }) } else { Ok(data) }
    }

    /// Whether the stage is asked to stop, and can resume later.
    pub fn stop_requested(&self) -> bool {
        self.checkpoints.is_some() && self.listener.stopping()
    }

    /// The number of spatial axes of the input.
    fn axes(&self) -> usize {
        self.data.card().input.shape.len().saturating_sub(1)
    }

    fn backbone(&self, named: Option<Backbone>, default: Option<Backbone>) -> Result<Backbone, Error> {
        named.or(default).ok_or_else(|| Error::Shape { shape: self.data.card().input.shape.clone() })
    }

    /// The backbone of the retraining network.
    ///
    /// # Errors
    /// If the pipeline names none and there is no default for the data.
    pub fn retrain_backbone(&self) -> Result<Backbone, Error> {
        self.backbone(self.pipeline.retrain.backbone, dash_nn::default_retrain_backbone(self.axes()))
    }

    /// The backbone of the search network.
    ///
    /// # Errors
    /// If the pipeline names none and there is no default for the data.
    pub fn search_backbone(&self) -> Result<Backbone, Error> {
        self.backbone(self.pipeline.search.backbone, dash_nn::default_search_backbone(self.axes()))
    }

    /// Builds a network for the inputs and targets of the dataset.
    pub(crate) fn build(
        &self,
        backbone: &Backbone,
        dropout: f64,
        convs: &mut dyn ConvBuilder,
        mut params: ParamBuilder,
    ) -> Result<(Box<dyn Network>, Params), Error> {
        let card = self.data.card();
        let (outputs, dense) = (card.target.outputs(), card.target.is_dense());
        let net = dash_nn::build(backbone, &card.input.shape, outputs, dense, dropout, convs, &mut params)?;
        Ok((net, params.finish()))
    }

    fn params(&self, network: u64) -> ParamBuilder {
        ParamBuilder::new(self.seed, network, self.backend).with_planner(self.planner)
    }

    /// The retraining network with the kernels of `architecture`, or with those of the backbone. Its initial weights
    /// depend on the seed alone: all trials and the retraining of a run start from the same.
    ///
    /// # Errors
    /// If the backbone does not fit the data or the architecture.
    pub fn retrain_network(
        &self,
        architecture: Option<&Architecture>,
        dropout: f64,
    ) -> Result<(Box<dyn Network>, Params), Error> {
        let pattern = architecture.map(Architecture::pattern);
        let found = pattern.as_ref().map(Vec::len);
        let mut convs = Counted { kernels: FixedKernels { pattern }, built: 0 };
        let built = self.build(&self.retrain_backbone()?, dropout, &mut convs, self.params(RETRAINED))?;
        match found {
            Some(found) if found > convs.built => Err(Error::SurplusKernels { expected: convs.built, found }),
            _ => Ok(built),
        }
    }

    /// The search network, whose searchable convolutions `convs` builds.
    ///
    /// # Errors
    /// If the backbone does not fit the data.
    pub fn search_network(&self, convs: &mut dyn ConvBuilder) -> Result<(Box<dyn Network>, Params), Error> {
        self.build(&self.search_backbone()?, 0.0, convs, self.params(SEARCHED))
    }
}
