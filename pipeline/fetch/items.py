"""The register of what can be fetched by name: from where, how large, with which sha256 where one is published.

Sizes and hashes are those that others state, each with its source; where none is known it is None, and the first fetch
records what came (`lock`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remote:
    """One file.

    Attributes:
        url: where it is.
        folder: where it goes, or where what it holds goes, below the data folder.
        size: in bytes.
        sha256: of its bytes.
        members: of an archive, what is unpacked: names, or names of folders that end with a slash; none of a file that
            stays as it is.
    """

    url: str
    folder: str
    size: int | None = None
    sha256: str | None = None
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is fetched by one name.

    Attributes:
        about: what it is, and its terms.
        remotes: its files.
        hub: a repository of data sets of Hugging Face, with the folder below the data folder where it goes.
        by_hand: what has to be done by whoever wants it, such as to fill in a form.
    """

    about: str
    remotes: tuple[Remote, ...] = ()
    hub: tuple[str, str] | None = None
    by_hand: str = ""

    @property
    def size(self) -> int | None:
        """Of all files; None if one is not known."""
        sizes = [remote.size for remote in self.remotes]
        return None if self.hub or None in sizes else sum(size or 0 for size in sizes)


_COCO, _COCO_FOLDER = "http://images.cocodataset.org", "raw/mscoco"


def _coco(path: str, size: int, sha256: str, *members: str) -> Remote:
    return Remote(f"{_COCO}/{path}.zip", _COCO_FOLDER, size, sha256, members or (f"{path.rpartition('/')[2]}/",))


def _karpathy(folder: str, member: str) -> Remote:
    return Remote(
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
        folder,
        36_745_453,
        "4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
        (member,),
    )


# Sizes and sha256 of COCO and of Karpathy's splits are those of TensorFlow Datasets (url_checksums/coco_captions.txt).
_COCO_2017 = _coco(
    "annotations/annotations_trainval2017",
    252_907_541,
    "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    "annotations/captions_train2017.json",
    "annotations/captions_val2017.json",
)
_COCO_2014 = _coco(
    "annotations/annotations_trainval2014",
    252_872_794,
    "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    "annotations/captions_train2014.json",
    "annotations/captions_val2014.json",
)
_TRAIN_2017 = _coco(
    "zips/train2017", 19_336_861_798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"
)
_VAL_2017 = _coco("zips/val2017", 815_585_330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05")
_TRAIN_2014 = _coco(
    "zips/train2014", 13_510_573_713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"
)
_VAL_2014 = _coco("zips/val2014", 6_645_013_297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0")
_COCO_SPLIT = _karpathy(_COCO_FOLDER, "dataset_coco.json")
_COCO_TERMS = "captions CC BY 4.0, images under their own Flickr licences"

# Computed from the files as published.
_SUGARCREPE = {
    "add_att": (158_863, "012d88d729693d193760e6f3393b06a1cf874380a9db0062e937201199fe044d"),
    "add_obj": (484_593, "1b9d76b93139a937b8dc1ada92a4f05ecc821bb3c291d752428bafadd4bb0682"),
    "replace_att": (176_843, "9fe55fd4c0a9ad1f85d486d9f6d0215b41f867eb025026e7f7b5ce44352545ee"),
    "replace_obj": (361_126, "9d299600639947e9d15281a9ded1382b376cf4ea088a8d08a1314bfe76e81898"),
    "replace_rel": (312_629, "356bcc2fc4c6aed3f4d9fd50acc58489bb1fe70c28791f9368d4cbf9ea39cdc9"),
    "swap_att": (154_665, "7a7ce04e5c4c80412b48c6f0c1347fb1a2f5d54c0be6aa429b64d390e442f8d0"),
    "swap_obj": (57_569, "073cdb8e253d053614e80710834d9773b09dbc1dd0a412f6f9492262caa1dcad"),
}
_YOLO = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_CONCEPTUAL = """\
1. Get Train_GCC-training.tsv at https://ai.google.com/research/ConceptualCaptions/download (a Google account is asked
   for) and put it into {data}/raw/conceptual_captions.
2. Download its images with img2dataset, whose pins do not fit this environment, in one of its own; a killed run goes on
   where it stopped:
     python -m venv .venv-img2dataset && .venv-img2dataset/bin/pip install img2dataset
     (printf 'caption\\turl\\n'; cat {data}/raw/conceptual_captions/Train_GCC-training.tsv) > cc3m.tsv
     .venv-img2dataset/bin/img2dataset --url_list cc3m.tsv --input_format tsv --url_col url --caption_col caption \\
       --output_format webdataset --output_folder {data}/raw/conceptual_captions --resize_mode no --incremental_mode \\
       incremental --processes_count 8 --thread_count 64"""

ITEMS: dict[str, Item] = {
    "mscoco": Item(
        f"COCO 2017: captions, images and Karpathy's split; {_COCO_TERMS}",
        (_COCO_2017, _COCO_SPLIT, _VAL_2017, _TRAIN_2017),
    ),
    "mscoco_2014": Item(
        f"COCO 2014, the same images by other names; {_COCO_TERMS}", (_COCO_2014, _COCO_SPLIT, _VAL_2014, _TRAIN_2014)
    ),
    "mscoco_annotations": Item(f"COCO 2017 without its images; {_COCO_TERMS}", (_COCO_2017, _COCO_SPLIT)),
    "mscoco_val2017": Item(f"COCO's val2017 images, which SugarCrepe names; {_COCO_TERMS}", (_VAL_2017,)),
    "flickr30k": Item(
        "Flickr30k: Karpathy's split file; images for research only",
        (_karpathy("raw/flickr30k", "dataset_flickr30k.json"),),
        by_hand="Images and captions are handed out on request: fill in the form at "
        "https://shannon.cs.illinois.edu/DenotationGraph/, then put flickr30k_images/ and results_20130124.token into "
        "{data}/raw/flickr30k.",
    ),
    "conceptual_captions": Item(
        "Conceptual Captions: urls and captions, free to use; images belong to the pages they are from",
        by_hand=_CONCEPTUAL,
    ),
    "sugarcrepe": Item(
        "SugarCrepe's seven files of captions and hard negatives (MIT); images: mscoco_val2017",
        tuple(
            Remote(
                f"https://raw.githubusercontent.com/RAIVNLab/sugar-crepe/main/data/{name}.json",
                "suites/sugarcrepe",
                *known,
            )
            for name, known in _SUGARCREPE.items()
        ),
    ),
    "aro": Item(
        "ARO: Visual Genome relations and attributes",
        by_hand="Its files lie on Google Drive, which asks before it hands out large ones: clone "
        "https://github.com/mertyg/vision-language-models-are-bows, run its VG_Relation and VG_Attribution with "
        "download=True and root_dir={data}/suites/aro.",
    ),
    "mmvp": Item("MMVP-VLM: questions and pairs of images (MIT)", hub=("MMVP/MMVP_VLM", "suites/mmvp")),
    "yolov8x": Item("YOLOv8x, trained on COCO (AGPL-3.0)", (Remote(f"{_YOLO}/yolov8x.pt", "weights"),)),
    "yolo11x": Item("YOLO11x, trained on COCO (AGPL-3.0)", (Remote(f"{_YOLO}/yolo11x.pt", "weights"),)),
    "yolo11n": Item("YOLO11n, the smallest (AGPL-3.0)", (Remote(f"{_YOLO}/yolo11n.pt", "weights"),)),
}


def _openai(name: str, sha256: str) -> Item:
    return Item(f"OpenAI's CLIP {name} (MIT)", (Remote(f"{_OPENAI}/{sha256}/{name}.pt", "weights", None, sha256),))


# The address of OpenAI's weights holds their sha256.
ITEMS |= {
    "clip_vit_b_32": _openai("ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
    "clip_vit_b_16": _openai("ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    "clip_vit_l_14": _openai("ViT-L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
}
