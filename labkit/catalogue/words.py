"""Plain words for the short codes of the catalogue: what a chapter, a kind or a status is called on a page."""

CHAPTERS = {
    "feedforward": "Feedforward layers",
    "experts": "Mixtures of experts",
    "sparsity": "Sparse networks",
    "learning": "Learning rules",
    "dynamics": "Training dynamics",
    "inside": "Looking inside",
    "sequences": "Sequences",
    "vision": "Vision",
    "structure": "Structure and symmetry",
    "equations": "Equations and operators",
    "weights": "Working on weights",
    "uncertainty": "Uncertainty",
    "applied": "Applications",
}

KINDS = {
    "layer": "Layer",
    "architecture": "Architecture",
    "analysis_probe": "Analysis",
    "application": "Application",
    "training_algorithm": "Training algorithm",
    "theory": "Theory",
    "regularizer_loss": "Loss or regulariser",
    "compression_pruning": "Compression",
    "generative_model": "Generative model",
    "moe_routing": "Expert routing",
    "nas": "Architecture search",
    "survey": "Survey",
    "systems": "Systems",
    "bayesian_uncertainty": "Uncertainty estimate",
    "optimizer_schedule": "Optimizer or schedule",
    "activation": "Activation function",
    "hypernetwork": "Hypernetwork",
    "initialization": "Initialisation",
    "other": "Other",
    "dataset_benchmark": "Data set",
}

BUILDS = {
    "layer": "a layer",
    "model": "a whole model",
    "trainer": "a training algorithm",
    "optimizer": "an optimizer",
    "loss": "a loss",
    "transform": "a change to a trained model",
    "analysis": "an analysis",
    "sim": "a simulation",
    "none": "nothing",
}

STAGES = {
    "recorded": "Measured here",
    "built": "Built, not yet measured",
    "planned": "Planned",
    "not built": "Will not be built",
}

VERDICTS = {
    "shown": "Shown",
    "inconclusive": "Inconclusive",
    "contradicted": "Contradicted",
    "out of reach": "Out of reach",
}

EFFORTS = {"S": "small", "M": "medium", "L": "large"}

CORES = {0: "outside the lab", 1: "a small demonstration", 2: "worth a room", 3: "the heart of the lab"}

FAMILIES = {
    "3d-vision": "3D vision",
    "activation-sparsity": "Activation sparsity",
    "activations-kan": "Activations and KAN",
    "attention": "Attention",
    "backprop-free": "Learning without backpropagation",
    "bayesian-uncertainty": "Bayesian uncertainty",
    "continual-learning": "Continual learning",
    "conv-layers": "Convolution layers",
    "distill-merge-compress": "Distil, merge, compress",
    "equivariant": "Equivariance",
    "fast-feedforward": "Fast feedforward",
    "ffn-variants": "Variants of the feedforward layer",
    "generative": "Generative models",
    "graph-nn": "Graph networks",
    "hypernetworks": "Hypernetworks",
    "implicit-ode-deq": "Implicit layers and ODEs",
    "init-signal-prop": "Initialisation and signals",
    "interpretability": "Interpretability",
    "lipschitz-robust": "Lipschitz and robustness",
    "logic-neurosymbolic": "Logic and symbols",
    "memory-layers": "Memory layers",
    "moe": "Mixture of experts",
    "monotone-convex": "Monotone and convex",
    "nas-supernet": "Architecture search",
    "neural-fields": "Neural fields",
    "nlp-app": "Language applications",
    "operators-pinn": "Operators and physics",
    "optimizers": "Optimizers",
    "other": "Other",
    "probabilistic-models": "Probabilistic models",
    "pruning-sparse-training": "Pruning and sparse training",
    "quantum": "Quantum",
    "representation-ssl": "Self-supervised representation",
    "rl-control": "Reinforcement learning and control",
    "rnn": "Recurrent networks",
    "science-med": "Science and medicine",
    "security-privacy": "Security and privacy",
    "set-retrieval-metric": "Sets, retrieval, metrics",
    "speech-audio": "Speech and audio",
    "spiking": "Spiking networks",
    "ssm-longseq": "State spaces, long sequences",
    "structured-linear": "Structured matrices",
    "tabular-timeseries": "Tables and time series",
    "training-dynamics": "Training dynamics",
    "vision-app": "Vision applications",
}
