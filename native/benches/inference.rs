//! What the shipped model's inference takes on the CPU, a pass at a time: `benches/peers/native.py` has it run by turns with ONNX
//! Runtime, so that other load on the machine meets both alike.
//!
//! Each line of standard input is a wish: `encoder N` (the text encoder on N pieces), `tag N` (the whole way of a caption of N
//! pieces) or `photo` (the image encoder on a wave for a photo). Its answer is a line: the milliseconds that it took, and the mean of
//! what an encoder gave.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use burn::tensor::{Device, Tensor, TensorData};
use muse_core::batch::{Batch, Example};
use muse_core::file::ModelFile;
use muse_core::{Caption, Request, Tagger};
use muse_kernels::awake;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/muse-small.muse");

fn main() -> anyhow::Result<()> {
    muse::memory::keep();
    let wishes = io::stdin().lock().lines();
    let device = Device::flex();
    let bytes = std::fs::read(MODEL).context(MODEL)?;
    let ModelFile {
        config, tokenizer, ..
    } = ModelFile::from_bytes(&bytes)?;
    let tagger = Tagger::from_bytes(&bytes, &device)?;
    let side = config.image.preparation.size;
    let wave: Vec<f32> = (0..3 * side * side)
        .map(|i| (i as f32 * 1e-3).sin())
        .collect();
    let photo = Tensor::<4>::from_data(TensorData::new(wave, [1, 3, side, side]), &device);
    for wish in wishes {
        let wish = wish?;
        let (what, pieces) = wish.split_once(' ').unwrap_or((&wish, "2"));
        // [CLS] and [SEP] are among the pieces.
        let words = vec!["a"; pieces.parse::<usize>()?.saturating_sub(2)];
        let encoded = tokenizer
            .windows(&words, config.max_pieces)
            .swap_remove(0)
            .encoded;
        let example = Example::unlabelled(encoded, None);
        let batch = Batch::new(&[example], &config, tokenizer.pad(), &device);
        let request = Request {
            caption: Caption::Text(words.join(" ")),
            picture: None,
        };
        let began = Instant::now();
        let given = match what {
            "encoder" => awake(|| tagger.muse().encode_text(&batch).into_data()),
            "photo" => awake(|| tagger.muse().image.forward(photo.clone()).into_data()),
            "tag" => {
                tagger.tag(&request)?;
                TensorData::from([0.0f32])
            }
            _ => bail!("{wish:?} is none of encoder, photo and tag"),
        };
        let took = began.elapsed().as_secs_f64() * 1e3;
        let numbers = given.as_slice::<f32>()?;
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        println!("{took:.4} {mean:e}");
        io::stdout().flush()?;
    }
    Ok(())
}
