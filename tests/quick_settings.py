"""Settings with which the costly techniques do the same in fewer steps, squares, copies, masks and segments, where only that they work is tested."""

QUICK = {
    "pgd": {"steps": 2}, "occlusion": {"window": 60, "stride": 50}, "smooth_grad": {"samples": 2}, "integrated_gradients": {"steps": 5},
    "gradient_shap": {"samples": 5}, "feature_ablation": {"segments": 4}, "rise": {"masks": 100}, "score_cam": {"channels": 16},
    "lime": {"segments": 4, "samples": 50, "repeats": 2}, "kernel_shap": {"segments": 4, "samples": 50, "repeats": 2},
    "trust": {"stages": 2, "copies": 1, "points": 4}, "trust_table": {"methods": ["saliency"], "stages": 2, "copies": 1, "points": 4},
    "feature_visualisation": {"steps": 4}, "excited_by_this": {"steps": 2, "layers": 3}, "channel": {"steps": 2},
    "wall": {"methods": ["grad_cam", "saliency"]}, "eot": {"steps": 2, "samples": 2},
    "ensemble_attack": {"steps": 2}, "universal_perturbation": {"epochs": 1, "epsilon": 64.0, "step_size": 1.0},
    "i_fgsm": {"steps": 2}, "mi_fgsm": {"steps": 2}, "one_pixel": {"generations": 2}, "square": {"queries": 20}, "random_search": {"queries": 20},
    "hop_skip_jump": {"queries": 200}, "zoo": {"queries": 100},
    "fooling_image": {"steps": 3}, "deep_fool": {"steps": 2, "classes": 3}, "lbfgs": {"searches": 1, "steps": 2}, "jsma": {"most": 0.5},
    "carlini_wagner": {"searches": 1, "steps": 5}, "robust_accuracy": {"method": "fgsm"}, "survival": {"points": 2},
    "attack_race": {"methods": ["fgsm"], "budget": 3, "epsilon": 64}, "epsilon_sweep": {"largest": 64, "points": 2, "precision": 8.0},
    "adversarial_patch": {"steps": 3, "step_size": 0.5, "largest": 60}, "place_patch": {"grid": 2},
}  # fmt: skip
