use super::super::super::function::Activation;
use super::*;
use proptest::prelude::*;

pub(in super::super) fn wave(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| (seed + i as f32 * 0.73).sin()).collect()
}

fn close(found: &[f32], expected: &[f32], inputs: usize) -> Result<(), TestCaseError> {
    for (f, e) in found.iter().zip(expected) {
        prop_assert!((f - e).abs() < 1e-6 * (inputs as f32 + 20.0), "{f} {e}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn as_reference(
        rows in 1usize..40, inputs in 1usize..300, outputs in 1usize..130,
        (before, between) in (0usize..9, 0usize..9), kind in 0usize..9, seed in -8.0f32..8.0,
    ) {
        let stride = inputs + between;
        let x = wave(before + rows * stride, seed);
        let x = Rows::new(&x[before..], rows, inputs, stride).unwrap();
        let weight = wave(outputs * inputs, -seed);
        let packed = PackedF32::pack(&weight, outputs, inputs).unwrap();
        prop_assert_eq!(&packed.unpack(), &weight);
        let mut parts = PackedF32::zeros(&Arena::default(), outputs, inputs).unwrap();
        let (above, below) = weight.split_at(between.min(outputs) * inputs);
        parts.fill(between.min(outputs), below).unwrap();
        parts.fill(0, above).unwrap();
        prop_assert_eq!(&*parts.panels, &*packed.panels);
        let (bias, residual) = (wave(outputs, 1.0), wave(rows * outputs, 2.0));
        let epilogue = match kind {
            0 => Epilogue::None,
            1 => Epilogue::Bias(&bias),
            2 => Epilogue::Residual(&bias, Rows::dense(&residual, rows, outputs).unwrap()),
            3 => Epilogue::Activation(&bias, Activation::Identity),
            4 => Epilogue::Activation(&bias, Activation::Gelu),
            5 => Epilogue::Activation(&bias, Activation::GeluTanh),
            6 => Epilogue::Activation(&bias, Activation::Relu),
            7 => Epilogue::Activation(&bias, Activation::Silu),
            _ => Epilogue::Activation(&bias, Activation::Tanh),
        };
        let stride = outputs + between;
        let mut expected = vec![0.5; rows * stride];
        let mut view = RowsMut::new(&mut expected, rows, outputs, stride).unwrap();
        reference(x, &weight, &epilogue, &mut view);
        for isa in Isa::all() {
            let mut found = vec![0.5; rows * stride];
            let out = RowsMut::new(&mut found, rows, outputs, stride).unwrap();
            let (left, right) = out.split_columns((outputs / 2).next_multiple_of(PANEL).min(outputs)).unwrap();
            let first = left.width();
            matmul_columns(isa, x, &packed, &epilogue, 0, left).unwrap();
            if right.width() > 0 {
                matmul_columns(isa, x, &packed, &epilogue, first, right).unwrap();
            }
            close(&found, &expected, inputs)?;
        }
    }

    #[test]
    fn a_row_does_not_know_its_neighbours(rows in 1usize..30, seed in -8.0f32..8.0) {
        let (inputs, outputs) = (200, 70);
        let x = wave(rows * inputs, seed);
        let packed = PackedF32::pack(&wave(outputs * inputs, -seed), outputs, inputs).unwrap();
        let x = Rows::dense(&x, rows, inputs).unwrap();
        for isa in Isa::all() {
            let (mut all, mut one) = (vec![0.0; rows * outputs], vec![0.0; outputs]);
            let out = RowsMut::dense(&mut all, rows, outputs).unwrap();
            matmul_columns(isa, x, &packed, &Epilogue::None, 0, out).unwrap();
            for (row, all) in all.chunks_exact(outputs).enumerate() {
                let out = RowsMut::dense(&mut one, 1, outputs).unwrap();
                let x = x.range(row..row + 1).unwrap();
                matmul_columns(isa, x, &packed, &Epilogue::None, 0, out).unwrap();
                prop_assert_eq!(all, &one);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(PackedF32::pack(&[0.0; 6], 2, 2).is_err());
    assert!(PackedF32::pack(&[], 0, 2).is_err());
    assert!(PackedF32::zeros(&Arena::default(), usize::MAX, usize::MAX).is_err());
    let mut parts = PackedF32::zeros(&Arena::default(), 3, 2).unwrap();
    assert!(parts.fill(2, &[0.0; 4]).is_err());
    assert!(parts.fill(0, &[0.0; 3]).is_err());
    assert!(parts.fill(usize::MAX, &[0.0; 2]).is_err());
    let packed = PackedF32::pack(&[1.0; 200], 100, 2).unwrap();
    let (x, mut out) = ([1.0; 4], [0.0; 200]);
    let run = |x: Rows, epilogue: &Epilogue, first, width, out: &mut [f32]| {
        let out = RowsMut::dense(out, 2, width).unwrap();
        matmul_columns(Isa::best(), x, &packed, epilogue, first, out)
    };
    let good = Rows::dense(&x, 2, 2).unwrap();
    assert!(run(good, &Epilogue::None, 48, 52, &mut out).is_ok());
    assert!(run(good, &Epilogue::None, 48, 48, &mut out).is_ok());
    assert!(run(good, &Epilogue::None, 48, 40, &mut out).is_err());
    assert!(run(good, &Epilogue::None, 40, 60, &mut out).is_err());
    assert!(run(good, &Epilogue::None, 96, 52, &mut out).is_err());
    assert!(run(good, &Epilogue::Bias(&[1.0]), 0, 100, &mut out).is_err());
    assert!(run(good, &Epilogue::Residual(&[1.0; 100], good), 0, 100, &mut out).is_err());
    assert!(run(Rows::dense(&x, 4, 1).unwrap(), &Epilogue::None, 0, 48, &mut out).is_err());
    assert!(run(Rows::dense(&x, 1, 2).unwrap(), &Epilogue::None, 0, 48, &mut out).is_err());
}
