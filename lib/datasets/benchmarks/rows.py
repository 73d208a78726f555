"""The table of benchmarks. Frames and sequences are counted as their papers and toolkits do."""

from dataclasses import replace

from lib.datasets.benchmarks.layout import Layout, Row, Server
from lib.datasets.sequence_files import SequenceFiles

LASOT_FILES = SequenceFiles(
    images="{group}/{name}/img",
    annotation="{group}/{name}/groundtruth.txt",
    absence=("{group}/{name}/full_occlusion.txt", "{group}/{name}/out_of_view.txt"),
)
GOT10K_FILES = SequenceFiles(
    images="{name}",
    annotation="{name}/groundtruth.txt",
    absence=("{name}/absence.label",),
    cover="{name}/cover.label",
)
_CSV_LAYOUT = Layout(SequenceFiles(images="{image_folder}", annotation="{annotation}"))

_SYNTHETIC = Row(
    name="synthetic",
    # Generated sequences flag absent targets; LaSOT's rules are the ones that heed that.
    protocol="lasot",
    sequences=12,
    frames=1330,
    rule="a check that everything works, not a benchmark",
)
_SYNTHETIC_HARD = replace(_SYNTHETIC, name="synthetic_hard", results_folder="synthetic_hard")
_SYNTHETIC_ABSENCE = replace(
    _SYNTHETIC,
    name="synthetic_absence",
    results_folder="synthetic_absence",
    sequences=18,
    frames=2160,
    rule="the target is gone for long: a test of certainty and of finding it again",
)
_SYNTHETIC_CALIBRATION = replace(
    _SYNTHETIC_ABSENCE,
    name="synthetic_calibration",
    results_folder="synthetic_calibration",
    sequences=24,
    frames=2880,
    rule="for `seqtrack calibrate`; not a test",
)
_LASOT = Row(
    name="lasot",
    folder="lasot",
    split="lasot_test.txt",
    frames=685360,
    layouts=(Layout(LASOT_FILES, "%08d.jpg"),),
    paper="Fan et al., LaSOT, CVPR 2019",
    homepage="http://vision.cs.stonybrook.edu/~lasot",
    rule="protocol II: 280 sequences to test, the other 1120 may be trained on",
)
_LASOT_EXTENSION = replace(
    _LASOT,
    name="lasot_extension_subset",
    results_folder="lasot_extension_subset",
    protocol="lasot_extension_subset",
    folder="lasot_extension_subset",
    aliases=("lasot_ext", "lasotext", "lasot_extension"),
    split="lasot_extension_subset_test.txt",
    frames=None,
    paper="Fan et al., LaSOT: a high-quality large-scale benchmark, IJCV 2021",
    rule="classes that LaSOT does not have; nothing of it may be trained on",
)
_GOT10K_VAL = Row(
    name="got10k_val",
    folder="got10k",
    aliases=("got_10k_val",),
    subfolder="val",
    list_file="list.txt",
    sequences=180,
    layouts=(Layout(GOT10K_FILES),),
    remarks=(
        (
            "GOT-10k_Val_000175",
            "a public copy of the labels holds 261 rows for its 271 frames: take those of the "
            "original archive",
        ),
    ),
    paper="Huang et al., GOT-10k, TPAMI 2021",
    homepage="http://got-10k.aitestunion.com",
    rule="train on GOT-10k's train part only (the _got configurations)",
)
_GOT10K_TEST = replace(
    _GOT10K_VAL,
    name="got10k_test",
    results_folder="got10k",
    protocol="got10k_test",
    aliases=("got_10k_test",),
    subfolder="test",
    layouts=(Layout(SequenceFiles(images="{name}", annotation="{name}/groundtruth.txt")),),
    remarks=(),
    first_box_only=True,
    server=Server(
        key="got10k",
        data_set="got10k_test",
        title="GOT-10k",
        sequences=180,
        folders=True,
        # The toolkit's number of repetitions.
        max_runs=3,
        names=tuple(f"GOT-10k_Test_{number:06d}" for number in range(1, 181)),
    ),
    rule="train on GOT-10k's train part only (the _got configurations); scored by its server",
)
_TRACKINGNET = Row(
    name="trackingnet",
    folder="trackingnet",
    subfolder="TEST",
    listing="anno/*.txt",
    sequences=511,
    # As unpacked, and as downloaded: an archive of frames for each video.
    layouts=(
        Layout(SequenceFiles(images="frames/{name}", annotation="anno/{name}.txt")),
        Layout(SequenceFiles(images="zips/{name}", annotation="anno/{name}.txt")),
    ),
    first_box_only=True,
    server=Server(
        key="trackingnet",
        data_set="trackingnet",
        title="TrackingNet",
        sequences=511,
        folders=False,
        max_runs=1,
    ),
    paper="Mueller et al., TrackingNet, ECCV 2018",
    homepage="https://tracking-net.org",
    rule="TRAIN_0 to TRAIN_11 may be trained on; scored by its server",
)
_TNL2K = Row(
    name="tnl2k",
    folder="tnl2k",
    listing="*",
    sequences=700,
    layouts=(Layout(SequenceFiles(images="{name}/imgs", annotation="{name}/groundtruth.txt")),),
    # Reports of it do not say whether they count from 0 or from 1.
    broken_frames=(
        ("test_015_Sord_video_Q01_done", 492),
        ("test_015_Sord_video_Q01_done", 493),
    ),
    paper="Wang et al., TNL2K, CVPR 2021",
    homepage="https://sites.google.com/view/langtrackbenchmark",
    rule="its descriptions in language.txt are not used",
)
_NFS = Row(
    name="nfs",
    folder="nfs",
    aliases=("nfs30",),
    split="nfs.csv",
    # SeqTrack's form, PyTracking's, and NFS as it is downloaded, with 30 and with 240 frames a
    # second.
    layouts=(
        Layout(SequenceFiles("{video}/30/{video}", "{video}/30/{video}_pytracking.txt")),
        _CSV_LAYOUT,
        Layout(SequenceFiles("{video}/30/{video}", "{video}/30/{video}.txt"), vatic=True),
        Layout(SequenceFiles("{video}/240/{video}", "{video}/240/{video}.txt"), "", 8, vatic=True),
    ),
    paper="Galoogahi et al., Need for Speed, ICCV 2017",
    homepage="http://ci2cv.net/nfs/index.html",
    rule="30 frames per second: every eighth frame",
)
_UAV = Row(
    name="uav",
    folder="UAV123",
    aliases=("uav123",),
    split="uav.csv",
    layouts=(_CSV_LAYOUT,),
    absent="nan",
    paper="Mueller et al., A Benchmark and Simulator for UAV Tracking, ECCV 2016",
    homepage="https://cemse.kaust.edu.sa/ivul/uav123",
    rule="UAV123: 123 sequences, some of which are parts of one video",
)
_UAV20L = replace(
    _UAV,
    name="uav20l",
    results_folder="uav20l",
    aliases=(),
    split="uav20l.csv",
    rule="UAV20L: 20 long sequences of the same videos, scored by UAV123's rules",
)
_UAV_10FPS = replace(
    _UAV,
    name="uav123_10fps",
    results_folder="uav123_10fps",
    folder="UAV123_10fps",
    aliases=("uav_10fps", "uav10fps"),
    # Every third frame of UAV123, from the first one; its ranges are (n - 1) // 3 + 1.
    split="uav123_10fps.csv",
    rule="UAV123 at 10 frames per second: the same sequences, every third frame",
)
_OTB = Row(
    name="otb",
    folder="OTB2015",
    aliases=("otb100", "otb2015"),
    split="otb.csv",
    layouts=(_CSV_LAYOUT,),
    paper="Wu et al., Object Tracking Benchmark, TPAMI 2015",
    homepage="http://cvlab.hanyang.ac.kr/tracker_benchmark",
    rule="one-pass evaluation on 100 sequences",
)
_TC128 = Row(
    name="tc128",
    folder="TC128",
    aliases=("tcolor128", "tcolor_128", "temple_color"),
    listing="*",
    sequences=128,
    layouts=(
        Layout(
            SequenceFiles(
                images="{name}/img",
                annotation="{name}/*_gt.txt",
                frame_range="{name}/*_frames.txt",
            ),
            "%04d.jpg",
        ),
    ),
    paper="Liang et al., Encoding Color Information for Visual Tracking, TIP 2015",
    homepage="https://www.dabi.temple.edu/~hbling/data/TColor-128/TColor-128.html",
    rule="one-pass evaluation on 128 sequences, 78 of which are its own",
)
_TC128CE = replace(
    _TC128,
    name="tc128ce",
    results_folder="tc128ce",
    aliases=(),
    only="_ce",
    sequences=78,
    rule="the 78 sequences that are TC128's own (_ce in their names)",
)
_AVIST = Row(
    name="avist",
    folder="avist",
    listing="anno/*.txt",
    sequences=120,
    layouts=(
        Layout(
            SequenceFiles(
                images="sequences/{name}",
                annotation="anno/{name}.txt",
                absence=(
                    "full_occlusion/{name}_full_occlusion.txt",
                    "out_of_view/{name}_out_of_view.txt",
                ),
            ),
            "img_%05d.jpg",
        ),
    ),
    paper="Noman et al., AVisT, BMVC 2022",
    homepage="https://sites.google.com/view/avist-benchmark",
    rule="adverse visibility; nothing of it may be trained on",
)
_ITB = Row(
    name="itb",
    folder="itb",
    listing="*/*",
    sequences=180,
    layouts=(Layout(SequenceFiles(images="{place}", annotation="{place}/groundtruth.txt")),),
    paper="Li et al., Informative Tracking Benchmark, arXiv 2112.06467",
    homepage="https://github.com/XinLi-zn/Informative-tracking-benchmark",
    rule="scored by OTB's rules",
)
_VASTTRACK = Row(
    name="vasttrack",
    folder="vasttrack",
    subfolder="test",
    any_root=True,
    listing="*/*",
    sequences=3500,
    layouts=(
        Layout(SequenceFiles(images="{place}/imgs", annotation="{place}/Groundtruth.txt")),
        Layout(SequenceFiles(images="{place}/imgs", annotation="{place}/groundtruth.txt")),
    ),
    absent="zeros",
    paper="Peng et al., VastTrack, NeurIPS 2024",
    homepage="https://github.com/HengLan/VastTrack",
    rule="the test split, 3500 sequences in a folder of their own",
)
_DTB70 = Row(
    name="dtb70",
    protocol="otb",
    folder="DTB70",
    aliases=("dtb",),
    # Names and frames: configDTBSeqs.m of github.com/flyers/drone-tracking, its publishers'.
    split="dtb70.txt",
    frames=15777,
    layouts=(Layout(SequenceFiles("{name}/img", "{name}/groundtruth_rect.txt")),),
    paper="Li and Yeung, Visual Object Tracking for Unmanned Aerial Vehicles, AAAI 2017",
    homepage="https://github.com/flyers/drone-tracking",
    rule="scored by OTB's rules, as by its publishers' code",
)
_UAVDT = Row(
    name="uavdt",
    protocol="otb",
    folder="UAVDT",
    aliases=("uavdt_sot",),
    # The names that trackers of drones read (SGLATrack's uavdtdataset.py and others agree).
    split="uavdt.txt",
    # As these trackers have it, then as it is downloaded: frames and toolkit are two archives.
    layouts=tuple(
        Layout(SequenceFiles(images, annotation))
        for images, annotation in (
            ("sequences/{name}", "anno/{name}_gt.txt"),
            ("sequences/{name}", "annotations/{name}_gt.txt"),
            ("UAV-benchmark-S/{name}", "UAV-benchmark-SOT_v1.0/anno/{name}_gt.txt"),
            ("{name}", "anno/{name}_gt.txt"),
        )
    ),
    paper="Du et al., The Unmanned Aerial Vehicle Benchmark, ECCV 2018",
    homepage="https://sites.google.com/view/grli-uavdt",
    rule="its 50 sequences for tracking one object (UAV-benchmark-S), scored by OTB's rules",
)
_VISDRONE = Row(
    name="visdrone_sot",
    protocol="otb",
    folder="VisDrone2019-SOT-test-dev",
    aliases=("visdrone", "visdrone2018", "visdrone2019", "visdrone_sot_test_dev"),
    # The names that trackers of drones read; no published list was at hand.
    split="visdrone_sot.txt",
    layouts=(Layout(SequenceFiles("sequences/{name}", "annotations/{name}.txt")),),
    paper="Wen et al., VisDrone-SOT2018, ECCV workshops 2018",
    homepage="https://github.com/VisDrone/VisDrone-Dataset",
    rule="the part test-dev, the same in 2018 and 2019; scored by OTB's rules, as by its toolkit",
)
_LATOT = Row(
    name="latot",
    protocol="otb",
    folder="LaTOT",
    # The test part: test.txt of github.com/ZYB0726/MKDNet, its publishers'.
    split="latot_test.txt",
    layouts=(Layout(SequenceFiles("{name}/img", "{name}/{name}.txt")),),
    paper="Zhu et al., Tiny Object Tracking, arXiv 2202.05659",
    homepage="https://github.com/ZYB0726/MKDNet",
    rule="165 of its 434 sequences are to test, and tiny: 20 pixels are a loose Precision there",
)
_TREK150 = Row(
    name="trek150",
    folder="TREK-150",
    aliases=("trek_150",),
    listing="*",
    sequences=150,
    # Frames are numbered as in the videos of EPIC-KITCHENS that they are cut from.
    layouts=(Layout(SequenceFiles("{name}/img", "{name}/groundtruth_rect.txt")),),
    absent="negative",
    paper="Dunnhofer et al., Visual Object Tracking in First Person Vision, IJCV 2022",
    homepage="https://github.com/matteo-dunnhofer/TREK-150-toolkit",
    rule="its one-pass protocol (OPE); frames without the target do not count",
)
_DIDI = Row(
    name="didi",
    protocol="otb",
    folder="didi",
    list_file="list.txt",
    sequences=180,
    layouts=(Layout(SequenceFiles("{name}/color", "{name}/groundtruth.txt")),),
    absent="vot",
    paper="Videnovic et al., A Distractor-Aware Memory for Visual Object Tracking, CVPR 2025",
    homepage="https://github.com/jovanavidenovic/DAM4SAM",
    rule="its paper gives the VOT toolkit's quality, accuracy and robustness: AUC is none of them",
)

CATALOG: tuple[Row, ...] = (
    _SYNTHETIC,
    _SYNTHETIC_HARD,
    _SYNTHETIC_ABSENCE,
    _SYNTHETIC_CALIBRATION,
    _LASOT,
    _LASOT_EXTENSION,
    _GOT10K_VAL,
    _GOT10K_TEST,
    _TRACKINGNET,
    _TNL2K,
    _NFS,
    _UAV,
    _UAV20L,
    _UAV_10FPS,
    _OTB,
    _TC128,
    _TC128CE,
    _AVIST,
    _ITB,
    _VASTTRACK,
    _DTB70,
    _UAVDT,
    _VISDRONE,
    _LATOT,
    _TREK150,
    _DIDI,
)
