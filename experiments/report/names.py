"""What people are told instead of identifiers; the identifiers stay in configurations and CSVs."""

from __future__ import annotations

DEFENCES = {
    "none": "no defence",
    "crafter": "Crafter",
    "crafter_z": "Crafter-z",
    "crafter_published": "Crafter as published",
    "adv_learning": "Adv Learning",
    "adv_learning_long": "longer Adv Learning",
    "disco": "Disco",
    "tiprdc": "TIPRDC",
    "fawkes": "Fawkes",
    "lowkey": "LowKey",
    "noise": "Gaussian noise",
    "channel_dropout": "channel dropout",
    "public_only": "public images alone",
    "decoy": "Decoy",
    "reduced_decoy": "ReducedDecoy",
    "quantised_decoy": "QuantisedDecoy",
    "manifold": "Manifold",
    "erasure": "Erasure",
}
SETTINGS = {"beta": "β", "lambda": "λ", "lambda_": "λ", "sigma": "σ", "alpha": "α"}
ATTACKS = {
    "white_box": "white-box search",
    "white_box_amortized": "white-box search from learned starts",
    "progressive": "white-box search of all layers",
    "mirror": "search of StyleGAN latents",
    "black_box": "black-box decoder",
    "black_box_adversarial": "black-box decoder with a critic",
    "hybrid": "decoder, then white-box search of pixels",
    "simulated_adversary": "decoder that the defence trained against",
    "a1_black_box": "decoder trained on protected features (A1)",
    "a1_white_box": "search with a generator tuned on protected features (A1)",
    "a1_hybrid": "decoder trained on protected features, then search (A1)",
    "a2_g2": "search of another generator (A2)",
    "a1_progressive": "white-box search of all layers of a generator tuned on protected features (A1)",
    "a1_through_hidden": "decoder of the last hidden layer, trained on protected features (A1)",
    "a3_progressive": "white-box search of all layers, on the average of several queries (A3)",
    "a3_black_box": "black-box decoder on the average of several queries (A3)",
    "through_block": "search of all layers through the next block",
    "through_hidden": "search of all layers through the last hidden layer",
    "through_logits": "search of all layers through the answers",
    "through_several": "search of all layers through several layers of f",
    "hidden_black_box": "decoder of the last hidden layer",
    "linkage_hidden": "linkage of the last hidden layer",
    "linkage_logits": "linkage of the answers",
    "linkage_network": "linkage by a network",
    "a1_linkage": "linkage, learned from queries (A1)",
    "a3_linkage": "linkage of the average of several queries (A3)",
    "a3_average": "search on the average of several queries (A3)",
    "a3_matched": "search on the average of matched queries (A3)",
    "matching": "comparison with features of photographs",
    "a1_matching": "comparison with features of photographs, learned from queries (A1)",
    "a3_matching": "comparison with features of photographs, of the average of several queries (A3)",
    "a3_matching_each": "comparison with features of photographs, averaged over several queries (A3)",
    "matching_feature": "comparison with features of photographs, at the split alone",
    "matching_answers": "comparison with answers to photographs",
    "a1_matching_answers": "comparison with answers to photographs, learned from queries (A1)",
    "a3_matching_answers": "comparison with answers to photographs, of the average of several queries (A3)",
    "a3_matching_answers_each": "comparison with answers to photographs, averaged over several queries (A3)",
    "a1_matching_protected": "comparison with photographs that were also protected (A1)",
    "a1_matching_answers_protected": "comparison with answers to photographs that were also protected (A1)",
    "exposure_images": "search with some leaked private photographs",
    "exposure_features": "reading identities with some leaked private features",
}
JUDGES = {
    "classifier": "the classifier of private people",
    "embedding": "the pretrained face recognition",
    "dlib": "dlib's face recognition",
    "itself": "the attack itself",
}


def defence(name: str) -> str:
    """'adv_learning' -> 'Adv Learning'; names that a user made up keep their letters."""
    return DEFENCES.get(name, name)


def strength(text: str) -> str:
    """'beta=0.5' -> 'β = 0.5'."""
    return ", ".join(_setting(part) for part in text.split(",") if part)


def _setting(text: str) -> str:
    name, equals, value = text.partition("=")
    shown = SETTINGS.get(name, name)
    return f"{shown} = {value}" if equals else shown


def attack(name: str) -> str:
    """'a3_average' -> 'search on the average of several queries'."""
    return ATTACKS.get(name, name)


def judge(name: str) -> str:
    """'embedding' -> 'the pretrained face recognition'."""
    return JUDGES.get(name, name)
