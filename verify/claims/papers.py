"""The papers that several files take claims from, in the order in which they are listed.

A theorem is named by what it says where its number could not be checked in the paper: Gunasekar et al. 1806.00468 and
Cao et al. 2306.11680 state these results in their abstracts.
"""

from __future__ import annotations

from maxmargin.verify.claims.record import paper

GV = paper("gv", "Gronich & Vardi 2602.16340", "The implicit bias of Adam and Muon on homogeneous networks")
TG = paper("tg", "Tsilivis et al. 2410.22069", "Flavors of margin: implicit bias of steepest descent")
LL = paper("ll", "Lyu & Li 1906.05890", "Gradient descent maximizes the margin of homogeneous neural networks")
JT = paper("jt", "Ji & Telgarsky 2006.06657", "Directional convergence and alignment in deep learning")
FST = paper("fan", "Fan, Schmidt & Thrampoulidis 2502.04664", "Implicit bias of spectral descent and Muon")
VSS = paper("vss", "Vardi, Shamir & Srebro 2110.02732", "On margin maximization in linear and ReLU networks")
BN = paper("bn", "Bernstein & Newhouse 2409.20325", "Old optimizer, new norm: an anthology")
CRAWSHAW = paper("crawshaw", "Crawshaw et al. 2510.09827", "Layer norms, their aggregation, and normalization; MuonMax")
WANG = paper("wang", "Wang et al. 2012.06244", "The implicit bias for adaptive optimization algorithms")
DECAY = paper("decay", "Xie & Li 2404.04454; Chen, Li & Liu 2506.15054", "Decoupled weight decay constrains a norm")
BAEK = paper("baek", "Baek, Song & Yun 2510.26303", "Implicit bias of per-sample Adam on separable data")
PRGD = paper("prgd", "Wang, Min & Wu 2311.14387", "Achieving margin maximization exponentially fast")
BOOST = paper("boost", "Telgarsky 1303.4172", "Margins, shrinkage, and boosting")
GUN = paper(
    "gunasekar", "Gunasekar et al. 1806.00468", "Implicit bias of gradient descent on linear convolutional networks"
)
ROBUST = paper(
    "robust", "Tsilivis et al. 2406.04981", "The price of implicit bias in adversarially robust generalization"
)
NORMALIZED = paper("batch-norm", "Cao et al. 2306.11680", "The implicit bias of batch normalization in linear models")
OWN = paper("own", "Own derivations", "Bounds that follow from the definitions; their proofs stand beside them")
