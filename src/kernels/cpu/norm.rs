//! Norms of rows, alone and with what comes before them.

use super::super::reduce::sum;
use super::isa::{Isa, Work};
use super::lanes::Lanes;
use super::view::{Rows, RowsMut};
use crate::error::{Error, Result};

/// How a row (H,) is normalized.
#[derive(Debug, Clone, Copy)]
pub enum Norm<'a> {
    /// `(x - mean) / sqrt(variance + eps) * gain + bias`
    Layer { gain: &'a [f32], bias: Option<&'a [f32]>, eps: f32 },
    /// `x / sqrt(mean of x^2 + eps) * gain`
    Rms { gain: &'a [f32], eps: f32 },
}

/// `out = norm(x)`, (N, H) both.
pub fn norm(norm: Norm, x: Rows, out: RowsMut) -> Result<()> {
    norm_on(Isa::best(), norm, x, None, out)
}

/// `out = norm(x + residual)`, (N, H) all.
pub fn add_norm(norm: Norm, x: Rows, residual: Rows, out: RowsMut) -> Result<()> {
    norm_on(Isa::best(), norm, x, Some(residual), out)
}

/// [`norm`] or [`add_norm`] on that instruction set.
pub fn norm_on(isa: Isa, norm: Norm, x: Rows, residual: Option<Rows>, out: RowsMut) -> Result<()> {
    let shape = (out.rows(), out.width());
    let same = |m: &Rows| (m.rows(), m.width()) == shape;
    if !same(&x) || residual.as_ref().is_some_and(|r| !same(r)) {
        return Err(Error::internal(format!("norm: inputs are not {} x {}", shape.0, shape.1)));
    }
    norm.check(shape.1)?;
    isa.run(Normalize { norm, x, residual, out });
    Ok(())
}

/// `x = norm(x)`, in place.
pub fn norm_in_place(norm: Norm, x: RowsMut) -> Result<()> {
    norm_in_place_on(Isa::best(), norm, x)
}

/// [`norm_in_place`] on that instruction set.
pub fn norm_in_place_on(isa: Isa, norm: Norm, x: RowsMut) -> Result<()> {
    norm.check(x.width())?;
    isa.run(InPlace { norm, x });
    Ok(())
}

/// `out[i] = norm(sum over tables of tables[t][ids[t][i]])`: embeddings. Each table is (entries, H), and has an id for
/// each of `out`'s rows. An id that a table does not have is refused before anything is written.
pub fn embed_norm(norm: Option<Norm>, tables: &[(Rows, &[u32])], out: RowsMut) -> Result<()> {
    embed_norm_on(Isa::best(), norm, tables, out)
}

/// [`embed_norm`] on that instruction set.
pub fn embed_norm_on(
    isa: Isa,
    norm: Option<Norm>,
    tables: &[(Rows, &[u32])],
    out: RowsMut,
) -> Result<()> {
    let (rows, width) = (out.rows(), out.width());
    norm.map_or(Ok(()), |norm| norm.check(width))?;
    for (index, (table, ids)) in tables.iter().enumerate() {
        if table.width() != width || ids.len() != rows {
            return Err(Error::internal(format!(
                "embedding {index}: {} ids in rows of {} numbers for {rows} rows of {width}",
                ids.len(),
                table.width()
            )));
        }
        if ids.iter().any(|&id| id as usize >= table.rows()) {
            return Err(Error::input(format!(
                "an id is beyond the {} entries of embedding {index}; tokenizer and model do not fit",
                table.rows()
            )));
        }
    }
    isa.run(Embed { norm, tables, out });
    Ok(())
}

impl Norm<'_> {
    fn check(&self, width: usize) -> Result<()> {
        let (gain, bias) = match self {
            Self::Layer { gain, bias, .. } => (gain, *bias),
            Self::Rms { gain, .. } => (gain, None),
        };
        if gain.len() == width && bias.is_none_or(|bias| bias.len() == width) {
            return Ok(());
        }
        Err(Error::internal(format!("norm: {} gains for rows of {width} numbers", gain.len())))
    }

    #[inline(always)]
    fn apply(&self, x: &mut [f32]) {
        let width = x.len() as f32;
        match *self {
            Self::Layer { gain, bias, eps } => {
                let mean = sum(x, |x| x) / width;
                let variance = sum(x, |x| (x - mean) * (x - mean)) / width;
                let scale = 1.0 / (variance + eps).sqrt();
                for (x, g) in x.iter_mut().zip(gain) {
                    *x = (*x - mean) * scale * g;
                }
                for (x, b) in x.iter_mut().zip(bias.unwrap_or_default()) {
                    *x += b;
                }
            }
            Self::Rms { gain, eps } => {
                let scale = 1.0 / (sum(x, |x| x * x) / width + eps).sqrt();
                for (x, g) in x.iter_mut().zip(gain) {
                    *x = *x * scale * g;
                }
            }
        }
    }
}

struct Normalize<'a> {
    norm: Norm<'a>,
    x: Rows<'a>,
    residual: Option<Rows<'a>>,
    out: RowsMut<'a>,
}

impl Work for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        for row in 0..self.x.rows() {
            let out = self.out.row(row);
            match &self.residual {
                Some(residual) => {
                    let pairs = self.x.row(row).iter().zip(residual.row(row));
                    for (y, (x, r)) in out.iter_mut().zip(pairs) {
                        *y = x + r;
                    }
                }
                None => out.copy_from_slice(self.x.row(row)),
            }
            self.norm.apply(out);
        }
    }
}

struct InPlace<'a> {
    norm: Norm<'a>,
    x: RowsMut<'a>,
}

impl Work for InPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        for row in 0..self.x.rows() {
            self.norm.apply(self.x.row(row));
        }
    }
}

struct Embed<'a> {
    norm: Option<Norm<'a>>,
    tables: &'a [(Rows<'a>, &'a [u32])],
    out: RowsMut<'a>,
}

impl Work for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        for row in 0..self.out.rows() {
            let out = self.out.row(row);
            out.fill(0.0);
            for (table, ids) in self.tables {
                for (y, x) in out.iter_mut().zip(table.row(ids[row] as usize)) {
                    *y += x;
                }
            }
            if let Some(norm) = &self.norm {
                norm.apply(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::f32::tests::wave;
    use super::*;
    use proptest::prelude::*;

    /// By the definition, in f64.
    #[allow(clippy::cast_possible_truncation)]
    fn reference(norm: &Norm, x: &[f32]) -> Vec<f32> {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let width = x.len() as f64;
        let (mean, gain, bias, eps) = match *norm {
            Norm::Layer { gain, bias, eps } => (x.iter().sum::<f64>() / width, gain, bias, eps),
            Norm::Rms { gain, eps } => (0.0, gain, None, eps),
        };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        let bias = |i: usize| bias.map_or(0.0, |b| f64::from(b[i]));
        let each = x.iter().enumerate();
        each.map(|(i, x)| ((x - mean) * scale * f64::from(gain[i]) + bias(i)) as f32).collect()
    }

    proptest! {
        #[test]
        fn as_reference(rows in 1usize..5, width in 8usize..200, kind in 0usize..3, seed in -8.0f32..8.0) {
            let (gain, bias) = (wave(width, 1.0), wave(width, 2.0));
            let norm = match kind {
                0 => Norm::Layer { gain: &gain, bias: Some(&bias), eps: 1e-5 },
                1 => Norm::Layer { gain: &gain, bias: None, eps: 1e-5 },
                _ => Norm::Rms { gain: &gain, eps: 1e-5 },
            };
            let (x, r) = (wave(rows * width, seed), wave(rows * width, -seed));
            let both: Vec<f32> = x.iter().zip(&r).map(|(x, r)| x + r).collect();
            let view = |data| Rows::dense(data, rows, width).unwrap();
            let ids: Vec<u32> = (0..5).take(rows).collect::<Vec<_>>().into_iter().rev().collect();
            for isa in Isa::all() {
                let mut found = [vec![0.0; both.len()], vec![0.0; both.len()], both.clone()];
                let [plain, added, placed] = &mut found;
                let mut embedded = vec![0.0; both.len()];
                let out = |data| RowsMut::dense(data, rows, width).unwrap();
                norm_on(isa, norm, view(&both), None, out(plain)).unwrap();
                norm_on(isa, norm, view(&x), Some(view(&r)), out(added)).unwrap();
                norm_in_place_on(isa, norm, out(placed)).unwrap();
                let tables = [(view(&x), &ids[..]), (view(&r), &ids[..])];
                embed_norm_on(isa, Some(norm), &tables, out(&mut embedded)).unwrap();
                for row in 0..rows {
                    let expected = reference(&norm, &both[row * width..][..width]);
                    let turned = &embedded[(rows - 1 - row) * width..][..width];
                    for found in found.iter().map(|f| &f[row * width..][..width]).chain([turned]) {
                        for (f, e) in found.iter().zip(&expected) {
                            prop_assert!((f - e).abs() < 1e-4 * e.abs().max(1.0), "{f} {e}");
                        }
                    }
                }
            }
        }
    }

    fn to(out: &mut [f32], rows: usize) -> RowsMut<'_> {
        RowsMut::dense(out, rows, 4).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (data, mut out) = ([1.0; 12], [0.0; 12]);
        let x = Rows::dense(&data, 3, 4).unwrap();
        let gain = &data[..4];
        let good = Norm::Rms { gain, eps: 1e-5 };
        assert!(norm(good, x, to(&mut out, 3)).is_ok());
        assert!(norm(good, x, to(&mut out, 2)).is_err());
        assert!(add_norm(good, x, x.range(0..2).unwrap(), to(&mut out, 3)).is_err());
        assert!(norm(Norm::Rms { gain: &data, eps: 1e-5 }, x, to(&mut out, 3)).is_err());
        assert!(
            norm_in_place(Norm::Layer { gain, bias: Some(&data), eps: 1e-5 }, to(&mut out, 3))
                .is_err()
        );
        assert!(embed_norm(None, &[(x, &[0, 2])], to(&mut out, 2)).is_ok());
        assert!(embed_norm(None, &[(x, &[0, 3])], to(&mut out, 2)).is_err());
        assert!(embed_norm(None, &[(x, &[0])], to(&mut out, 2)).is_err());
    }
}
