//! The generator behind `random()` and `setseed()`.
//!
//! It is xoroshiro128** seeded through splitmix64 (Blackman and Vigna, "Scrambled Linear Pseudorandom Number
//! Generators"), as in PostgreSQL, so that `setseed(0.5)` makes the same sequence of numbers there and here.

/// The state of a generator; never both zero.
#[derive(Clone, Debug)]
pub struct Random {
    s0: u64,
    s1: u64,
}

impl Random {
    /// A generator started from 64 bits.
    pub fn from_seed(mut seed: u64) -> Random {
        let (s0, s1) = (split_mix(&mut seed), split_mix(&mut seed));
        if s0 == 0 && s1 == 0 {
            return Random { s0: 0x5851_F42D_4C95_7F2D, s1: 0x1405_7B7E_F767_814F };
        }
        Random { s0, s1 }
    }

    /// A generator started as `setseed(value)` does, for -1 <= value <= 1.
    pub fn from_fraction(value: f64) -> Random {
        let scaled = ((1i64 << 52) - 1) as f64 * value;
        Random::from_seed(scaled as i64 as u64)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let (s0, mixed) = (self.s0, self.s1 ^ self.s0);
        let value = s0.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        self.s0 = s0.rotate_left(24) ^ mixed ^ (mixed << 16);
        self.s1 = mixed.rotate_left(37);
        value
    }

    /// A number in `[0, 1)`.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> (64 - 52)) as f64 / (1u64 << 52) as f64
    }

    /// An integer in `[min, max]`, each as likely as the others.
    pub fn in_range(&mut self, min: i64, max: i64) -> i64 {
        let span = max.wrapping_sub(min) as u64;
        if min >= max {
            return min;
        }
        if span == u64::MAX {
            return self.next_u64() as i64;
        }
        // Draw as many bits as the span has, until the value falls into it.
        let shift = span.leading_zeros();
        loop {
            let value = self.next_u64() >> shift;
            if value <= span {
                return min.wrapping_add(value as i64);
            }
        }
    }

    /// A normally distributed number with mean 0 and standard deviation 1 (Box and Muller).
    pub fn next_normal(&mut self) -> f64 {
        let u1 = 1.0 - self.next_f64();
        let u2 = 1.0 - self.next_f64();
        (-2.0 * u1.ln()).sqrt() * (2.0 * std::f64::consts::PI * u2).sin()
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
