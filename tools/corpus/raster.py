"""Numba kernels of the face renderer: deformation, normals, z-buffer, occlusion and shading.

All arrays are float32 unless stated otherwise. The kernels run on one thread; they are compiled
once and cached. Screen y points down, and depth grows away from the viewer.
"""

import numpy as np
from numba import njit

SKIN, EYE, TEETH, TONGUE, LASH, HAIR, CLOTH, RIM = range(8)
FAR = np.float32(1.0e9)
F = np.float32
fast = njit(cache=True, fastmath=True, error_model="numpy", boundscheck=False)


@fast
def add_targets(v, index, delta, start, ids, weights):
    """Add to v the weighted sparse displacements of the targets with the numbers ids."""
    for k in range(len(ids)):
        t, w = ids[k], weights[k]
        for j in range(start[t], start[t + 1]):
            i = index[j]
            v[i, 0] += w * delta[j, 0]
            v[i, 1] += w * delta[j, 1]
            v[i, 2] += w * delta[j, 2]


@fast
def normals(v, tri, out):
    """Area-weighted unit vertex normals of the triangles into out (V,3)."""
    out[:] = F(0)
    for t in range(len(tri)):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
        wx, wy, wz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(len(out)):
        s = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if s > F(1e-12):
            out[i] /= s


@fast
def hair_keep(a, edge, coarse, strands):
    """Does a hair sample with strand number a (0..1) and distance from the edge (0..) exist?

    The ends are ragged and shaped like strands.
    """
    n = strands.shape[1]
    j = int(a * n) % n
    i = int(a * n * F(0.125)) % n
    return edge + F(0.05) * strands[0, j] * coarse + F(0.05) * coarse * strands[
        strands.shape[0] - 1, i
    ] > F(0)


@fast
def rasterise(xy, depth, tri, mat, att, strands, coarse, size, zbuf, tid, wgt):
    """Find the nearest triangle of each sample.

    zbuf (S,S): depth; tid (S,S) int32: triangle (-1: none); wgt (S,S,2): barycentrics of corners 0
    and 1.
    """
    zbuf[:] = FAR
    tid[:] = -1
    for t in range(len(tri)):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        m = mat[t]
        x0, y0, x1, y1, x2, y2 = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area > F(-1e-6) and (m != HAIR and m != LASH and m != RIM or area < F(1e-6)):
            continue
        lx = max(int(np.ceil(min(x0, min(x1, x2)) - F(0.5))), 0)
        hx = min(int(np.floor(max(x0, max(x1, x2)) - F(0.5))), size - 1)
        ly = max(int(np.ceil(min(y0, min(y1, y2)) - F(0.5))), 0)
        hy = min(int(np.floor(max(y0, max(y1, y2)) - F(0.5))), size - 1)
        if lx > hx or ly > hy:
            continue
        inv = F(1) / area
        ax, ay, ac = (y1 - y2) * inv, (x2 - x1) * inv, (x1 * y2 - y1 * x2) * inv
        bx, by, bc = (y2 - y0) * inv, (x0 - x2) * inv, (x2 * y0 - y2 * x0) * inv
        za, zb, zc = depth[a], depth[b], depth[c]
        for py in range(ly, hy + 1):
            fy = F(py) + F(0.5)
            for px in range(lx, hx + 1):
                fx = F(px) + F(0.5)
                w0 = ax * fx + ay * fy + ac
                w1 = bx * fx + by * fy + bc
                w2 = F(1) - w0 - w1
                if w0 < F(-2e-3) or w1 < F(-2e-3) or w2 < F(-2e-3):  # a hair wide: no cracks
                    continue
                z = w0 * za + w1 * zb + w2 * zc
                if z >= zbuf[py, px]:
                    continue
                if m == HAIR:
                    e = w0 * att[a, 1] + w1 * att[b, 1] + w2 * att[c, 1]
                    if e < F(0.3) and not hair_keep(
                        w0 * att[a, 0] + w1 * att[b, 0] + w2 * att[c, 0], e, coarse, strands
                    ):
                        continue
                elif m == CLOTH:
                    if w0 * att[a, 2] + w1 * att[b, 2] + w2 * att[c, 2] < F(0):
                        continue
                zbuf[py, px] = z
                tid[py, px] = t
                wgt[py, px, 0] = w0
                wgt[py, px, 1] = w1


@fast
def mend(zbuf, tid, wgt):
    """Close cracks one sample wide.

    An empty sample with three or four covered neighbours takes the nearest one's triangle.
    """
    n = len(tid)
    for y in range(1, n - 1):
        for x in range(1, n - 1):
            if tid[y, x] < 0:
                k, by, bx = 0, y, x
                for d in range(4):
                    i, j = y + (d == 0) - (d == 1), x + (d == 2) - (d == 3)
                    if tid[i, j] >= 0:
                        k += 1
                        if by == y and bx == x or zbuf[i, j] < zbuf[by, bx]:
                            by, bx = i, j
                if k >= 3:
                    tid[y, x], zbuf[y, x] = tid[by, bx], zbuf[by, bx]
                    wgt[y, x, 0], wgt[y, x, 1] = wgt[by, bx, 0], wgt[by, bx, 1]


@fast
def blur(src, radius, out, tmp):
    """Box blur with clamped borders, twice; src, out, tmp (n,n)."""
    n = len(src)
    inv = F(1) / F(2 * radius + 1)
    for rep in range(2):
        for y in range(n):
            s = F(0)
            for k in range(-radius, radius + 1):
                s += (src if rep == 0 else out)[y, min(max(k, 0), n - 1)]
            for x in range(n):
                tmp[y, x] = s * inv
                s += (src if rep == 0 else out)[y, min(x + radius + 1, n - 1)] - (
                    src if rep == 0 else out
                )[y, max(x - radius, 0)]
        for x in range(n):
            s = F(0)
            for k in range(-radius, radius + 1):
                s += tmp[min(max(k, 0), n - 1), x]
            for y in range(n):
                out[y, x] = s * inv
                s += tmp[min(y + radius + 1, n - 1), x] - tmp[max(y - radius, 0), x]


@fast
def bilinear(im, x, y):
    """The value of a picture (n, n) at the point (x, y), between its four nearest pixels."""
    n = len(im)
    x = min(max(x - F(0.5), F(0)), F(n) - F(1.001))
    y = min(max(y - F(0.5), F(0)), F(n) - F(1.001))
    i, j = int(y), int(x)
    u, v = x - F(j), y - F(i)
    return (im[i, j] * (F(1) - u) + im[i, j + 1] * u) * (F(1) - v) + (
        im[i + 1, j] * (F(1) - u) + im[i + 1, j + 1] * u
    ) * v


@fast
def shadows(zbuf, low, near, wide, shade, tmp, key, scale, far):
    """Maps of occlusion and shadow, computed from the depth buffer.

    near, wide: two blurred copies at a quarter of the size; shade: the shadow of the key light
    (0..1).
    """
    n = len(low)
    k = len(zbuf) // n
    for y in range(n):
        for x in range(n):
            low[y, x] = min(zbuf[y * k + k // 2, x * k + k // 2], far)
    r = scale / F(k)
    blur(low, max(1, int(F(0.035) * r + F(0.5))), near, tmp)
    blur(low, max(2, int(F(0.11) * r + F(0.5))), wide, tmp)
    gz = max(key[2], F(0.35))
    sx, sy = key[0] / gz, -key[1] / gz
    for y in range(n):
        for x in range(n):
            z, s = low[y, x], F(0)
            if z < far:
                q = F(0.05)
                while q < F(0.55):
                    xx, yy = int(F(x) + sx * q * r + F(0.5)), int(F(y) + sy * q * r + F(0.5))
                    if 0 <= xx < n and 0 <= yy < n:
                        b = z - q * key[2] / gz - low[yy, xx]
                        if b > F(0.03) and b < F(0.8):
                            s = max(s, min(F(1), (b - F(0.03)) * F(20)))
                    q *= F(1.4)
            shade[y, x] = s
    blur(shade, max(1, int(F(0.03) * r + F(0.5))), low, tmp)
    shade[:] = low


@fast
def power(x, n):
    """x**n for n a power of two, x >= 0."""
    while n > 1:
        x *= x
        n //= 2
    return x


# One loop over samples with a branch per material, kept whole: functions of ten scalars in and five
# out would not be easier to read, and splitting it could change how numba rounds.
@fast
def shade(  # noqa: C901
    zbuf,
    tid,
    wgt,
    tri,
    mat,
    nrm,
    can,
    att,
    tex,
    height,
    lip,
    near,
    wide,
    dark,
    strands,
    light,
    look,
    eyes,
    rot,
    scene_bg,
    frame,
):
    """Colour of the samples, averaged 2x2 into frame (n,n,3), linear light.

    nrm: (V,3) normals seen from the camera; can: (V,3) place on the undeformed head; att: (V,3) of
    hair (strand, edge, along), of skin (inside of the mouth, scalp, static occlusion); tex (h,w,3),
    height, lip (h,w): front maps of the face; light (6,3): key direction, key colour, ambient, fill
    direction, fill colour, half vector; look (12,3): colours of the actor; eyes (2,8): centre,
    gaze, radius; rot (3,3): head rotation.
    """
    size = len(zbuf)
    n = size // 2
    k = F(len(near)) / F(size)
    th, tw = lip.shape
    texels = look[11, 0]
    x_left, y_top = look[11, 1], look[11, 2]
    sh, sw = strands.shape
    kx, ky, kz = light[0, 0], light[0, 1], light[0, 2]
    fx_, fy_, fz_ = light[3, 0], light[3, 1], light[3, 2]
    hx, hy, hz = light[5, 0], light[5, 1], light[5, 2]
    for py in range(n):
        for px in range(n):
            acc0, acc1, acc2 = F(0), F(0), F(0)
            for sub in range(4):
                y, x = 2 * py + sub // 2, 2 * px + sub % 2
                t = tid[y, x]
                if t < 0:
                    acc0 += scene_bg[py, px, 0]
                    acc1 += scene_bg[py, px, 1]
                    acc2 += scene_bg[py, px, 2]
                    continue
                m = mat[t]
                a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
                w0, w1 = wgt[y, x, 0], wgt[y, x, 1]
                w2 = F(1) - w0 - w1
                nx = w0 * nrm[a, 0] + w1 * nrm[b, 0] + w2 * nrm[c, 0]
                ny = w0 * nrm[a, 1] + w1 * nrm[b, 1] + w2 * nrm[c, 1]
                nz = w0 * nrm[a, 2] + w1 * nrm[b, 2] + w2 * nrm[c, 2]
                cx = w0 * can[a, 0] + w1 * can[b, 0] + w2 * can[c, 0]
                cy = w0 * can[a, 1] + w1 * can[b, 1] + w2 * can[c, 1]
                cz = w0 * can[a, 2] + w1 * can[b, 2] + w2 * can[c, 2]
                p0 = w0 * att[a, 0] + w1 * att[b, 0] + w2 * att[c, 0]
                p1 = w0 * att[a, 1] + w1 * att[b, 1] + w2 * att[c, 1]
                p2 = w0 * att[a, 2] + w1 * att[b, 2] + w2 * att[c, 2]
                # occlusion and shadow from the depth buffer
                sx, sy = (F(x) + F(0.5)) * k, (F(y) + F(0.5)) * k
                z = zbuf[y, x]
                occ = F(3.2) * min(max(z - bilinear(near, sx, sy), F(0)), F(0.10)) + F(1.3) * min(
                    max(z - bilinear(wide, sx, sy), F(0)), F(0.16)
                )
                ao = max(F(1) - occ, F(0.3))
                shadow = F(1) - F(0.55) * bilinear(dark, sx, sy)
                r, g, bl = look[0, 0], look[0, 1], look[0, 2]
                spec, gloss, wrap0, wrap1, wrap2 = F(0), 16, F(0.05), F(0.05), F(0.05)
                if m == SKIN:
                    tx, ty = (cx - x_left) * texels, (y_top - cy) * texels
                    ti, tj = min(max(int(ty), 2), th - 3), min(max(int(tx), 2), tw - 3)
                    u, v = min(max(tx - F(tj), F(0)), F(1)), min(max(ty - F(ti), F(0)), F(1))
                    front = min(max((cz - F(0.30)) * F(3.5), F(0)), F(1))
                    w00, w01, w10, w11 = (
                        (F(1) - u) * (F(1) - v),
                        u * (F(1) - v),
                        (F(1) - u) * v,
                        u * v,
                    )
                    r += front * (
                        w00 * tex[ti, tj, 0]
                        + w01 * tex[ti, tj + 1, 0]
                        + w10 * tex[ti + 1, tj, 0]
                        + w11 * tex[ti + 1, tj + 1, 0]
                        - r
                    )
                    g += front * (
                        w00 * tex[ti, tj, 1]
                        + w01 * tex[ti, tj + 1, 1]
                        + w10 * tex[ti + 1, tj, 1]
                        + w11 * tex[ti + 1, tj + 1, 1]
                        - g
                    )
                    bl += front * (
                        w00 * tex[ti, tj, 2]
                        + w01 * tex[ti, tj + 1, 2]
                        + w10 * tex[ti + 1, tj, 2]
                        + w11 * tex[ti + 1, tj + 1, 2]
                        - bl
                    )
                    lp = lip[ti, tj] * min(max((cz - F(1.25)) * F(6), F(0)), F(1))
                    r += F(0.85) * lp * (look[1, 0] - r)
                    g += F(0.85) * lp * (look[1, 1] - g)
                    bl += F(0.85) * lp * (look[1, 2] - bl)
                    dx = (height[ti, tj + 1] - height[ti, tj - 1]) * front
                    dy = (height[ti - 1, tj] - height[ti + 1, tj]) * front
                    nx -= rot[0, 0] * dx + rot[0, 1] * dy
                    ny -= rot[1, 0] * dx + rot[1, 1] * dy
                    nz -= rot[2, 0] * dx + rot[2, 1] * dy
                    hgt = F(1) + F(1.1) * min(F(0), height[ti, tj]) * front
                    if p1 > F(0):  # scalp under the hair
                        q = min(p1, F(1)) * look[2, 2]
                        r += q * (look[3, 0] * F(0.6) - r)
                        g += q * (look[3, 1] * F(0.6) - g)
                        bl += q * (look[3, 2] * F(0.6) - bl)
                    inner = min(max(p0, F(0)), F(1))
                    r, g, bl = r * hgt, g * hgt, bl * hgt
                    r += inner * (F(0.13) - r)
                    g += inner * (F(0.02) - g)
                    bl += inner * (F(0.02) - bl)
                    ao *= (F(1) - F(0.6) * inner) * p2
                    spec = (F(0.030) + F(0.05) * lp) * (F(1) - inner) * look[2, 0]
                    gloss = 32 if lp > F(0.3) else 16
                    wrap0, wrap1, wrap2 = F(0.34), F(0.22), F(0.17)
                elif m == EYE:
                    s = 1 if cx > F(0) else 0
                    ex, ey, ez = cx - eyes[s, 0], cy - eyes[s, 1], cz - eyes[s, 2]
                    q = F(1) / np.sqrt(ex * ex + ey * ey + ez * ez)
                    ex, ey, ez = ex * q, ey * q, ez * q
                    gx, gy, gz = eyes[s, 3], eyes[s, 4], eyes[s, 5]
                    d2 = (
                        (ex - gx) ** 2 + (ey - gy) ** 2 + (ez - gz) ** 2
                    )  # squared chord, about the squared angle
                    ang = np.sqrt(d2)
                    corner = min(max((abs(ex) - F(0.35)) * F(1.4), F(0)), F(1))
                    r, g, bl = (
                        look[5, 0],
                        look[5, 1] * (F(1) - F(0.22) * corner),
                        look[5, 2] * (F(1) - F(0.25) * corner),
                    )
                    q = min(max((F(0.45) - ang) * F(18), F(0)), F(1))
                    if q > F(0):
                        j = int((ex - gx) * F(900) + (ey - gy) * F(2300)) % sw
                        tone = (
                            F(0.80)
                            + F(0.10) * strands[2, j]
                            + F(1.0) * min(max((F(0.30) - ang) * F(3), F(0)), F(0.3))
                        )
                        tone *= F(1) - F(0.70) * min(max((ang - F(0.34)) * F(11), F(0)), F(1))
                        pupil = min(max((ang - F(0.165)) * F(25), F(0)), F(1))
                        r += q * (look[4, 0] * tone * pupil + F(0.004) - r)
                        g += q * (look[4, 1] * tone * pupil + F(0.004) - g)
                        bl += q * (look[4, 2] * tone * pupil + F(0.004) - bl)
                    bx_ = rot[0, 0] * ex + rot[0, 1] * ey + rot[0, 2] * ez
                    by_ = rot[1, 0] * ex + rot[1, 1] * ey + rot[1, 2] * ez
                    bz_ = rot[2, 0] * ex + rot[2, 1] * ey + rot[2, 2] * ez
                    nx, ny, nz = bx_, by_, bz_
                    lid = min(max((F(0.60) - ey) * F(1.8), F(0.35)), F(1))  # the upper lid's shade
                    ao = (F(0.35) + F(0.65) * ao) * lid
                    shadow = F(0.45) + F(0.55) * shadow
                    wrap0, wrap1, wrap2 = F(0.3), F(0.3), F(0.3)
                    spec, gloss = F(0.03), 32
                elif m == TEETH:
                    arch = abs(cx)
                    g_ = F(1) - F(0.30) * power(abs(np.cos(arch * F(27))), 8) * (
                        F(1) if arch < F(0.3) else F(0)
                    )
                    back = min(max((cz - F(1.18)) * F(3.2), F(0.30)), F(1))
                    gum = F(1) if p0 > F(0) else F(0)
                    q = g_ * back
                    r, g, bl = (
                        look[6, 0] * q,
                        look[6, 1] * q * (F(1) - F(0.55) * gum),
                        look[6, 2] * q * (F(1) - F(0.55) * gum),
                    )
                    ao = F(0.62) + F(0.38) * ao
                    shadow = F(0.5) + F(0.5) * shadow
                    spec, gloss = F(0.05), 32
                    wrap0, wrap1, wrap2 = F(0.4), F(0.4), F(0.4)
                elif m == TONGUE:
                    r, g, bl = F(0.36), F(0.105), F(0.10)
                    q = min(max((cz - F(0.9)) * F(2.2), F(0.25)), F(1))
                    r, g, bl = r * q, g * q, bl * q
                    ao = F(0.4) + F(0.6) * ao
                    spec, gloss = F(0.03), 32
                    wrap0, wrap1, wrap2 = F(0.3), F(0.25), F(0.25)
                elif m == LASH:
                    r, g, bl = look[7, 0], look[7, 1], look[7, 2]
                elif m == CLOTH:
                    kind = int(look[10, 0])
                    r, g, bl = look[8, 0], look[8, 1], look[8, 2]
                    if kind == 1:  # jacket over a shirt: the V and its lapels
                        d = abs(cx) - F(0.62) * (cy - F(5.15))
                        if d < F(0) and cz > F(0.0):
                            r, g, bl = look[9, 0], look[9, 1], look[9, 2]
                            if abs(cx) < F(0.012):
                                r, g, bl = r * F(0.8), g * F(0.8), bl * F(0.8)
                        elif d < F(0.05) and cz > F(0.0):
                            q = F(0.6) + F(8) * max(d, F(0))
                            r, g, bl = r * q, g * q, bl * q
                    elif kind == 2 and p1 > F(0):  # contrasting collar or ribbing
                        r, g, bl = look[9, 0], look[9, 1], look[9, 2]
                    elif kind == 3 and cy > F(5.80):  # a yoke
                        r, g, bl = (
                            F(0.4) * r + F(0.6) * look[9, 0],
                            F(0.4) * g + F(0.6) * look[9, 1],
                            F(0.4) * bl + F(0.6) * look[9, 2],
                        )
                    weave = (
                        F(1)
                        + F(0.02) * strands[1, int(abs(cx) * F(700)) % sw]
                        + F(0.02) * strands[1, int(abs(cy) * F(700)) % sw]
                    )
                    r, g, bl = r * weave, g * weave, bl * weave
                    wrap0, wrap1, wrap2 = F(0.2), F(0.2), F(0.2)
                elif m == RIM:
                    r, g, bl = look[2, 1], look[2, 1] * F(0.9), look[2, 1] * F(0.85)
                    spec, gloss = F(0.04), 32
                if m == HAIR:
                    if nz < F(0):
                        nx, ny, nz = -nx, -ny, -nz
                    j = int(p0 * F(sw)) % sw
                    j2 = int(p0 * F(sw) * F(0.23)) % sw
                    i = int(p2 * F(sh)) % sh
                    s1, s2 = strands[i, j], strands[(i * 3) // 4 % sh, j2]
                    tone = F(1) + F(0.26) * s1 + F(0.20) * s2
                    tone = max(tone, F(0.25)) * (
                        F(0.72) + F(0.28) * min(max(p1 * F(4), F(0)), F(1))
                    )
                    r, g, bl = look[3, 0] * tone, look[3, 1] * tone, look[3, 2] * tone
                    if p2 < F(9):  # thin at the hairline: the skin shows through
                        q = F(0.40) * (F(1) - min(max(p1 * F(6), F(0)), F(1)))
                        r, g, bl = (
                            r + q * (look[0, 0] - r),
                            g + q * (look[0, 1] - g),
                            bl + q * (look[0, 2] - bl),
                        )
                    nx += F(0.16) * s2
                    wrap0, wrap1, wrap2 = F(0.25), F(0.25), F(0.25)
                    ao = F(0.3) + F(0.7) * ao
                q = F(1) / np.sqrt(nx * nx + ny * ny + nz * nz + F(1e-12))
                nx, ny, nz = nx * q, ny * q, nz * q
                nk = nx * kx + ny * ky + nz * kz
                nf = max(nx * fx_ + ny * fy_ + nz * fz_, F(0)) * (F(0.4) + F(0.6) * ao)
                sky = (F(0.78) + F(0.22) * ny) * ao
                lit = shadow * (F(0.55) + F(0.45) * ao)
                i0 = (
                    max((nk + wrap0) / (F(1) + wrap0), F(0)) * lit * light[1, 0]
                    + nf * light[4, 0]
                    + sky * light[2, 0]
                )
                i1 = (
                    max((nk + wrap1) / (F(1) + wrap1), F(0)) * lit * light[1, 1]
                    + nf * light[4, 1]
                    + sky * light[2, 1]
                )
                i2 = (
                    max((nk + wrap2) / (F(1) + wrap2), F(0)) * lit * light[1, 2]
                    + nf * light[4, 2]
                    + sky * light[2, 2]
                )
                r, g, bl = r * i0, g * i1, bl * i2
                s = F(0)
                if m == HAIR:  # highlight across the strands, taken to run up and down
                    tx_, ty_, tz_ = -nx * ny, F(1) - ny * ny, -nz * ny
                    q = F(1) / np.sqrt(tx_ * tx_ + ty_ * ty_ + tz_ * tz_ + F(1e-6))
                    q = (tx_ * hx + ty_ * hy + tz_ * hz) * q + F(0.10) * s1 - F(0.12)
                    q = max(F(1) - q * q, F(0))
                    s = (
                        power(q, 16)
                        * lit
                        * max(nk + F(0.3), F(0))
                        * (F(0.018) + F(0.22) * (look[3, 0] + look[3, 1]) * F(0.5))
                        * (F(1) + F(0.5) * s2)
                    )
                elif spec > F(0):
                    q = max(nx * hx + ny * hy + nz * hz, F(0))
                    f = F(1) - min(max(nz, F(0)), F(1))
                    s = (
                        spec
                        * power(q, gloss)
                        * F(gloss + 8)
                        * F(0.07)
                        * (F(0.6) + F(2.2) * f * f * f)
                        * lit
                    )
                    if m == SKIN:
                        s += spec * F(0.8) * f * f * f * f
                if m == EYE:  # two windows mirrored in the cornea
                    q0, q1 = ex - gx * F(0.6), ey - gy * F(0.6)
                    c0, c1 = q0 - F(0.13) * (F(1) if kx > F(0) else F(-1)), q1 - F(0.16)
                    if c0 * c0 + c1 * c1 < F(0.0075) and ang < F(0.55):
                        s += F(0.75)
                    c0, c1 = q0 + F(0.16) * (F(1) if kx > F(0) else F(-1)), q1 + F(0.10)
                    if c0 * c0 + c1 * c1 < F(0.0025) and ang < F(0.5):
                        s += F(0.12)
                acc0 += r + s * light[1, 0]
                acc1 += g + s * light[1, 1]
                acc2 += bl + s * light[1, 2]
            frame[py, px, 0] = acc0 * F(0.25)
            frame[py, px, 1] = acc1 * F(0.25)
            frame[py, px, 2] = acc2 * F(0.25)


@fast
def to_bytes(frame, table, out):
    """Linear light -> display bytes, through a table of 4096 steps over 0..1.6.

    The table holds a soft shoulder and the gamma curve.
    """
    n = len(frame)
    for y in range(n):
        for x in range(n):
            for c in range(3):
                out[y, x, c] = table[min(max(int(frame[y, x, c] * F(2560)), 0), 4095)]


@fast
def strokes(im, paths, width, alpha):
    """Draw soft hairs, which thin towards the tip, by taking the maximum.

    paths (n,4): x0, y0, x1, y1 in texels; width (n,): sigma in texels; alpha (n,).
    """
    h, w = im.shape
    for k in range(len(paths)):
        x0, y0, x1, y1 = paths[k]
        steps = max(2, int(np.hypot(x1 - x0, y1 - y0) * 1.5))
        s = width[k]
        r = int(s * 2.5) + 1
        for q in range(steps + 1):
            t = q / steps
            x, y = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t
            for i in range(max(int(y) - r, 0), min(int(y) + r + 1, h)):
                for j in range(max(int(x) - r, 0), min(int(x) + r + 1, w)):
                    d = (i + 0.5 - y) ** 2 + (j + 0.5 - x) ** 2
                    a = alpha[k] * (1 - 0.5 * t) * np.exp(-d / (2 * s * s))
                    if a > im[i, j]:
                        im[i, j] = a


@fast
def cast_rays(origin, rays, v, tri, far, hit, bary):
    """Outermost crossing of each ray with the triangles.

    Writes the distance (n,) into far (0: none), the triangle into hit, and the barycentrics.
    """
    for k in range(len(rays)):
        far[k] = F(0)
        hit[k] = -1
        dx, dy, dz = rays[k, 0], rays[k, 1], rays[k, 2]
        for t in range(len(tri)):
            a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
            e1x, e1y, e1z = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
            e2x, e2y, e2z = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
            px, py, pz = dy * e2z - dz * e2y, dz * e2x - dx * e2z, dx * e2y - dy * e2x
            det = e1x * px + e1y * py + e1z * pz
            if abs(det) < F(1e-10):
                continue
            det = F(1) / det
            tx, ty, tz = origin[0] - v[a, 0], origin[1] - v[a, 1], origin[2] - v[a, 2]
            u = (tx * px + ty * py + tz * pz) * det
            if u < F(-1e-4) or u > F(1.0001):
                continue
            qx, qy, qz = ty * e1z - tz * e1y, tz * e1x - tx * e1z, tx * e1y - ty * e1x
            w = (dx * qx + dy * qy + dz * qz) * det
            if w < F(-1e-4) or u + w > F(1.0001):
                continue
            d = (e2x * qx + e2y * qy + e2z * qz) * det
            if d > far[k]:
                far[k] = d
                hit[k] = t
                bary[k, 0], bary[k, 1], bary[k, 2] = F(1) - u - w, u, w
