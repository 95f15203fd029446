//! What others call the parameters of our modules.

/// Where a parameter is found in a file that is not ours.
pub(super) struct Foreign {
    pub(super) name: String,
    /// Stored as `[out, in]` where burn has `[in, out]`.
    pub(super) transposed: bool,
}

impl Foreign {
    pub(super) fn same(path: &str) -> Self {
        Self {
            name: path.to_owned(),
            transposed: false,
        }
    }

    pub(super) fn bert(path: &str) -> Self {
        let transposed = path.starts_with("layers.") && path.ends_with(".weight");
        let name = replace_all(
            path,
            &[
                ("layers.", "encoder.layer."),
                (".attention_norm.", ".attention.output.LayerNorm."),
                (".attention.query.", ".attention.self.query."),
                (".attention.key.", ".attention.self.key."),
                (".attention.value.", ".attention.self.value."),
                (".intermediate.", ".intermediate.dense."),
                // The attention's output and the feed-forward's.
                (".output.weight", ".output.dense.weight"),
                (".output.bias", ".output.dense.bias"),
                (".output_norm.", ".output.LayerNorm."),
                (".layer_norm.", ".LayerNorm."),
                (".gamma", ".weight"),
                (".beta", ".bias"),
            ],
        );
        Self { name, transposed }
    }

    pub(super) fn resnet(path: &str) -> Self {
        let name = match path.split_once(".norm.") {
            None => replace_all(path, &[("downsample.weight", "downsample.0.weight")]),
            Some((conv, parameter)) => {
                let norm = replace_all(conv, &[("downsample", "downsample.1"), ("conv", "bn")]);
                format!("{norm}.{}", norm_parameter(parameter))
            }
        };
        Self {
            name,
            transposed: false,
        }
    }

    pub(super) fn efficientnet(path: &str) -> Self {
        let (module, parameter) = match path.split_once(".norm.") {
            None => (
                path.strip_suffix(".weight").unwrap_or(path),
                None, // the convolution's weight
            ),
            Some((conv, parameter)) => (conv, Some(norm_parameter(parameter))),
        };
        let (parent, conv) = match module.rsplit_once('.') {
            Some((block, conv)) => (format!("_{block}."), conv),
            None => (String::new(), module),
        };
        let (conv, norm) = match conv {
            "stem" => ("_conv_stem", "_bn0"),
            "expand" => ("_expand_conv", "_bn0"),
            "depthwise" => ("_depthwise_conv", "_bn1"),
            "project" => ("_project_conv", "_bn2"),
            "head" => ("_conv_head", "_bn1"),
            other => (other, other),
        };
        let name = match parameter {
            None => format!("{parent}{conv}.weight"),
            Some(parameter) => format!("{parent}{norm}.{parameter}"),
        };
        Self {
            name,
            transposed: false,
        }
    }
}

fn norm_parameter(name: &str) -> &str {
    match name {
        "gamma" => "weight",
        "beta" => "bias",
        statistics => statistics,
    }
}

fn replace_all(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        text.replacen(from, to, 1)
    })
}
