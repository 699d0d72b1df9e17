use super::super::f32::tests::wave;
use super::super::tile_i8;
use super::*;
use crate::kernels::cpu::Rows;
use proptest::prelude::*;

/// From the definitions: numbers, scales and zero points.
fn reference(x: &Quantized, weight: &PackedI8, epilogue: &Epilogue, out: &mut RowsMut) {
    let numbers = weight.numbers();
    for row in 0..x.rows() {
        let (scale, zero) = x.scale(row);
        let a = &x.numbers()[row * x.stride()..][..x.width()];
        for (output, y) in out.row(row).iter_mut().enumerate() {
            let w = &numbers[output * weight.inputs..][..weight.inputs];
            let sum: i32 =
                a.iter().zip(w).map(|(&a, &w)| (i32::from(a) - zero) * i32::from(w)).sum();
            *y = sum as f32 * (weight.scales[output] * scale);
        }
        epilogue.reference(row, out.row(row));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn as_reference(
        rows in 1usize..40, inputs in 1usize..300, outputs in 1usize..130,
        skipped in 0usize..3, seed in -8.0f32..8.0,
    ) {
        let data = wave(rows * inputs, seed);
        let weight = wave(outputs * inputs, -seed);
        let packed = PackedI8::quantize(&weight, outputs, inputs).unwrap();
        let (numbers, split) = (packed.numbers(), skipped.min(outputs));
        let mut again = PackedI8::zeros(&Arena::default(), outputs, inputs).unwrap();
        again.fill(split, &numbers[split * inputs..], &packed.scales()[split..]).unwrap();
        again.fill(0, &numbers[..split * inputs], &packed.scales()[..split]).unwrap();
        let mut row = vec![0.0; inputs];
        for (output, numbers) in numbers.chunks_exact(inputs).enumerate() {
            packed.output(output, &mut row);
            let scale = packed.scales()[output];
            let numbers: Vec<f32> = numbers.iter().map(|&n| f32::from(n) * scale).collect();
            prop_assert_eq!(&row, &numbers);
        }
        prop_assert_eq!((&*again.panels, &again.sums), (&*packed.panels, &packed.sums));
        let bias = wave(outputs, 1.0);
        let epilogue = Epilogue::Activation(&bias, Activation::Gelu);
        let mut x = Quantized::new();
        for isa in Isa::all() {
            x.fill_on(isa, Rows::dense(&data, rows, inputs).unwrap()).unwrap();
            let mut expected = vec![0.0; rows * outputs];
            let mut view = RowsMut::dense(&mut expected, rows, outputs).unwrap();
            reference(&x, &packed, &epilogue, &mut view);
            let (row, mut found) = (skipped.min(rows - 1), vec![0.0; rows * outputs]);
            let out = RowsMut::dense(&mut found, rows, outputs).unwrap();
            let (_, out) = out.split_rows(row).unwrap();
            let (left, right) = out.split_columns((outputs / 2).next_multiple_of(PANEL).min(outputs)).unwrap();
            let first = left.width();
            matmul_i8_columns(isa, &x, row, &packed, &epilogue, 0, left).unwrap();
            if right.width() > 0 {
                matmul_i8_columns(isa, &x, row, &again, &epilogue, first, right).unwrap();
            }
            for (f, e) in found.iter().zip(&expected).skip(row * outputs) {
                // The function for eight bits is off by 2e-5 of what it is given, here up to 5.
                prop_assert!((f - e).abs() <= 1e-4 * e.abs().max(1.0), "{} {f} {e}", isa.name());
            }
        }
    }

    #[test]
    fn near_float(rows in 1usize..9, inputs in 32usize..400, outputs in 1usize..60, seed in -8.0f32..8.0) {
        let (data, weight) = (wave(rows * inputs, seed), wave(outputs * inputs, -seed));
        let packed = PackedI8::quantize(&weight, outputs, inputs).unwrap();
        let view = Rows::dense(&data, rows, inputs).unwrap();
        let mut x = Quantized::new();
        x.fill(view).unwrap();
        let (mut expected, mut found) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
        let mut out = RowsMut::dense(&mut expected, rows, outputs).unwrap();
        super::super::f32::reference(view, &weight, &Epilogue::None, &mut out);
        let out = RowsMut::dense(&mut found, rows, outputs).unwrap();
        matmul_i8(&x, &packed, &Epilogue::None, out).unwrap();
        // Half a step of each factor, in every term.
        let most = inputs as f32 * (0.5 / 127.0 + 1.0 / 255.0);
        for (f, e) in found.iter().zip(&expected) {
            prop_assert!((f - e).abs() < most, "{f} {e}");
        }
    }
}

#[test]
fn the_largest_sums_are_exact() {
    let (inputs, outputs) = (3072, 48);
    let packed = PackedI8::pack(&vec![127; inputs * outputs], &[1.0; 48], outputs, inputs).unwrap();
    let (a, mut c) = (vec![255u8; inputs], [0i32; PANEL]);
    for isa in Isa::all() {
        let product = ProductI8 {
            rows: 1,
            depth: inputs / 4,
            columns: 48,
            a: a.as_ptr(),
            a_stride: inputs,
            b: packed.panels.as_ptr(),
            c: c.as_mut_ptr(),
            prefetch: packed.panels.as_ptr(),
            prefetch_lines: 0,
        };
        // SAFETY: the sizes are those of the three vectors.
        unsafe { tile_i8::product(isa, &product) };
        assert!(c.iter().all(|&sum| sum == 255 * 127 * 3072), "{}", isa.name());
    }
}

#[test]
fn what_cannot_be_quantized_is_refused() {
    assert!(PackedI8::quantize(&[1.0, f32::NAN], 1, 2).is_err());
    assert!(PackedI8::quantize(&[1.0, f32::INFINITY], 1, 2).is_err());
    assert!(PackedI8::quantize(&[1.0; 3], 1, 2).is_err());
    assert!(PackedI8::quantize(&vec![1.0; 70_000], 1, 70_000).is_err());
    assert!(PackedI8::pack(&[1; 2], &[f32::NAN], 1, 2).is_err());
    assert!(PackedI8::pack(&[1; 2], &[1.0, 1.0], 1, 2).is_err());
    assert!(PackedI8::zeros(&Arena::default(), usize::MAX, 4).is_err());
    let mut parts = PackedI8::zeros(&Arena::default(), 3, 2).unwrap();
    assert!(parts.fill(2, &[0; 4], &[1.0; 2]).is_err());
    assert!(parts.fill(0, &[0; 3], &[1.0; 2]).is_err());
    assert!(quantize_rows(&[1.0; 4], &mut [0; 4], &mut [0.0; 3]).is_err());
    assert_eq!(PackedI8::quantize(&[0.0; 4], 2, 2).unwrap().numbers(), [0; 4]);
}
