//! Both streams of the exchange one below the other, and what is done with them.

use burn::tensor::{Int, Tensor};

use super::launch::{Buffer, Launch, begin};
use super::{FOUR, NUMBERS, ONE, THREADS, by_rows};

/// Rows of a sequence at most that `exchange.wgsl` has room for.
const LONGEST: usize = 1024;

/// Sequences one below the other: `batch` of a length, then as many of another, which may be 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences {
    pub(crate) batch: usize,
    pub(crate) lengths: [usize; 2],
}

impl Sequences {
    /// How many rows they have together.
    pub(crate) fn rows(&self) -> usize {
        self.batch * self.lengths.iter().sum::<usize>()
    }

    /// Where those of the text and of the image begin among numbers of so many a row, if a [part](Buffer::part) may begin there.
    fn parts(&self, width: usize) -> Option<[usize; 2]> {
        let image = self.batch * self.lengths[0] * width;
        (begin(image) == image).then_some([0, image])
    }
}

/// Both streams one below the other `[1, n, d]`: `rows` `[B, N, d]`, each sample's with its `cls` `[1, d]` in front. `None` also
/// where the kernels for [such](Sequences) would not fit.
pub(crate) fn join(cls: [&Tensor<2>; 2], rows: [&Tensor<3>; 2]) -> Option<(Tensor<3>, Sequences)> {
    let [batch, _, width] = rows[0].dims();
    let lengths = rows.map(|rows| 1 + rows.dims()[1]);
    let sequences = Sequences { batch, lengths };
    sequences.parts(width)?;
    if !width.is_multiple_of(4) || lengths.into_iter().max() > Some(LONGEST) {
        return None;
    }
    let [text_cls, image_cls] = [Buffer::of(cls[0])?, Buffer::of(cls[1])?];
    let [text, image] = [Buffer::of(rows[0])?, Buffer::of(rows[1])?];
    let joined = text.beside(sequences.rows() * width);
    Launch::new("join", include_str!("join.wgsl"), THREADS)
        .read("text_cls", FOUR, &text_cls)
        .read("image_cls", FOUR, &image_cls)
        .read("text", FOUR, &text)
        .read("image", FOUR, &image)
        .write("joined", FOUR, &joined)
        .size("batch", batch)
        .size("text", lengths[0])
        .size("image", lengths[1])
        .size("width", width / 4)
        .run(by_rows(sequences.rows(), width))?;
    Some((joined.tensor([1, sequences.rows(), width]), sequences))
}

/// The two streams `[B, N, d]` of what [`join`] gave.
pub(crate) fn part(rows: &Tensor<3>, sequences: Sequences) -> Option<[Tensor<3>; 2]> {
    let [_, _, width] = rows.dims();
    let starts = sequences.parts(width)?;
    let rows = Buffer::of(rows)?;
    Some(std::array::from_fn(|s| {
        rows.part(starts[s], [sequences.batch, sequences.lengths[s], width])
    }))
}

/// What an exchange gives.
pub(crate) struct Exchanged {
    /// Both streams one below the other `[1, n, d]`.
    pub(crate) rows: Tensor<3>,
    /// The attention that the cls row pays to each row, averaged over the heads, `[B, N]` for each stream.
    pub(crate) scores: [Tensor<2>; 2],
    /// Which rows were exchanged, 1 or 0, `[B, N]` for each stream.
    pub(crate) chosen: [Tensor<2>; 2],
}

/// The exchange of `rows` `[1, n, d]` by what the first of each sequence pays, `[n, heads]`. `facts` says how often each row counts,
/// then how many rows of each sequence are exchanged: the texts', then the images'. The other stream's mean replaces a row or is
/// added to it.
pub(crate) fn exchange(
    rows: &Tensor<3>,
    paid: &Tensor<2>,
    facts: &Tensor<1>,
    sequences: Sequences,
    replace: bool,
) -> Option<Exchanged> {
    let [_, count, width] = rows.dims();
    let [_, heads] = paid.dims();
    let (rows, paid, facts) = (Buffer::of(rows)?, Buffer::of(paid)?, Buffer::of(facts)?);
    let Sequences { batch, lengths } = sequences;
    let shapes = lengths.map(|length| [batch, length]);
    let [texts, images] = lengths.map(|length| begin(batch * length));
    let starts = [0, texts, texts + images, 2 * texts + images];
    let exchanged = rows.beside(count * width);
    let told = rows.beside(2 * (texts + images));
    let threads = 64;
    Launch::new("exchange", include_str!("exchange.wgsl"), threads)
        .constant("LONGEST", LONGEST)
        .read("rows", FOUR, &rows)
        .read("paid", ONE, &paid)
        .read("facts", ONE, &facts)
        .write("exchanged", FOUR, &exchanged)
        .write("told", ONE, &told)
        .size("batch", batch)
        .size("text", lengths[0])
        .size("image", lengths[1])
        .size("width", width / 4)
        .size("heads", heads)
        .size("replace", usize::from(replace))
        .size("image_scores", starts[1])
        .size("text_chosen", starts[2])
        .size("image_chosen", starts[3])
        .run([(width / 4).div_ceil(threads), 2 * batch, 1])?;
    Some(Exchanged {
        rows: exchanged.tensor([1, count, width]),
        scores: std::array::from_fn(|s| told.part(starts[s], shapes[s])),
        chosen: std::array::from_fn(|s| told.part(starts[2 + s], shapes[s])),
    })
}

/// Rows of the text's and of the image's stream `[B, N, d]` side by side, `[n, 2 · d]`: those at these `places` of the flattened
/// streams, or without places each sample's first ones.
pub(crate) fn pairs(
    streams: [&Tensor<3>; 2],
    places: Option<[&Tensor<1, Int>; 2]>,
) -> Option<Tensor<2>> {
    let [batch, _, width] = streams[0].dims();
    let [text_rows, image_rows] = streams.map(|stream| stream.dims()[1]);
    if !width.is_multiple_of(4) {
        return None;
    }
    let [text, image] = [Buffer::of(streams[0])?, Buffer::of(streams[1])?];
    let count = places.map_or(batch, |[places, _]| places.dims()[0]);
    let places = match places {
        Some([text, image]) => Some([Buffer::of_ints(text)?, Buffer::of_ints(image)?]),
        None => None,
    };
    let pairs = text.beside(count * 2 * width);
    let launch = Launch::new("pairs", include_str!("pairs.wgsl"), THREADS)
        .read("text", FOUR, &text)
        .read("image", FOUR, &image)
        .write("pairs", FOUR, &pairs)
        .size("width", width / 4)
        .size("text_rows", text_rows)
        .size("image_rows", image_rows);
    let launch = match &places {
        Some([text, image]) => launch
            .read("text_places", NUMBERS, text)
            .read("image_places", NUMBERS, image)
            .variant(
                "places",
                "fn place(row: u32) -> vec2<u32> { return vec2<u32>(u32(text_places[row]), u32(image_places[row])); }",
            ),
        None => launch.variant(
            "first",
            "fn place(row: u32) -> vec2<u32> { return row * vec2<u32>(sizes.text_rows, sizes.image_rows); }",
        ),
    };
    launch.run(by_rows(count, width))?;
    Some(pairs.tensor([count, 2 * width]))
}
