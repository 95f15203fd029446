use super::*;
use crate::weights::Problem;
use crate::weights::tests::{problems, tensor};

#[test]
fn cnns_take_the_names_of_their_originals() {
    let device = Device::flex();
    for (kind, expected, unused) in [
        (
            CnnKind::EfficientnetLite0,
            [
                "_conv_stem.weight",
                "_bn0.running_var",
                "_blocks.0._depthwise_conv.weight",
                "_blocks.15._bn2.bias",
                "_blocks.15._expand_conv.weight",
                "_bn1.weight",
            ],
            "_fc.weight",
        ),
        (
            CnnKind::Resnet50,
            [
                "conv1.weight",
                "bn1.running_mean",
                "layer1.0.downsample.0.weight",
                "layer1.0.downsample.1.bias",
                "layer4.2.bn3.weight",
                "layer4.2.conv3.weight",
            ],
            "fc.bias",
        ),
    ] {
        let missing =
            problems(ImageEncoder::new(kind, &device).load_published(kind, StateDict::new()));
        let mut dict: StateDict = missing
            .into_iter()
            .map(|problem| match problem {
                Problem::Missing { name, shape } => (name, tensor(&shape, 0.0)),
                other => panic!("{other}"),
            })
            .collect();
        for name in expected {
            assert!(dict.contains_key(name), "{kind:?} {name}");
        }
        dict.insert(unused.into(), tensor(&[1], 0.0));
        dict.insert("x.num_batches_tracked".into(), tensor(&[], 0.0));
        ImageEncoder::new(kind, &device)
            .load_published(kind, dict.clone())
            .expect("all is there");
        dict.insert("other.weight".into(), tensor(&[1], 0.0));
        let found = problems(ImageEncoder::new(kind, &device).load_published(kind, dict));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("`other.weight`"));
    }
}
